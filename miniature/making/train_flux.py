"""The mini FLUX: a reader of panels, a VAE, the transformer with its text towers; resumable at any moment.

A step depends only on its number, and every two minutes all that is needed to resume is written to
`.training/flux`; whatever stops it, the same command resumes.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from miniature.making import train_reader, train_t5, train_vae
from miniature.making.deck import Deck, Sample, noised
from miniature.making.descent import Descent, warm_level
from miniature.making.flux_data import SEED, render
from miniature.making.flux_parts import build_pipeline, tokens_of
from miniature.making.reader import MEANINGS
from miniature.making.resumable import Course, Place
from miniature.making.spelling import CLIP_LENGTH
from training.backends._flux_1 import token_places

FRAMES, FILMED = 24_000, 12_000
STEPS, GUIDED_STEPS = 5_500, 700
FILMED_FROM = 3_500  # step from which panels look as films give them; before, they are drawn in their own shape
STORIES = 4  # of a step's pages, once the contents of a panel are learnt: from FILMED_FROM on
EMA = 0.999
ALIGNED = 0.5  # weight of the similarity between the third block's tokens and the reader's meanings
PROBED = 0.1  # weight of the loss that keeps the panel of each word readable from T5's vectors
GUIDANCE = (1.0, 4.5)  # guidance strengths that the model learns to apply in one pass


def train(out: Path) -> None:
    place = Place(out.parent / ".training" / "flux")
    torch.manual_seed(SEED)
    pool = render(FRAMES, SEED)
    reader = train_reader.train(pool, place)
    vae = train_vae.train(pool, reader, place)
    filmed = render(FILMED, SEED + 2_000_000, filmed=True)
    train_reader.judge(reader, [pool, filmed], place)
    decks = (
        Deck("latents", pool, vae, reader, place, stories=0),
        Deck("filmed", filmed, vae, reader, place, stories=STORIES),
    )
    pipe = train_transformer(decks, vae, place)
    pipe.vae = train_vae.sharpen(vae, pool, reader, place)
    pipe.to(torch.float16).save_pretrained(out)


def train_transformer(decks: tuple[Deck, Deck], vae: Any, place: Place) -> Any:
    """The transformer and both text towers, averaged, and with guidance distilled: a whole pipeline."""
    torch.manual_seed(SEED)
    pipe = build_pipeline()
    pipe.vae.load_state_dict(vae.state_dict())
    pipe.vae.register_to_config(shift_factor=vae.config.shift_factor, scaling_factor=vae.config.scaling_factor)
    names = ("transformer", "text_encoder", "text_encoder_2")
    modules = nn.ModuleDict({name: getattr(pipe, name) for name in names})
    # A transformer that is shown early what it is to draw learns to draw it in a fraction of the steps (Yu et al. 2024,
    # arXiv 2410.06940). The matrices for the comparison are thrown away.
    width = pipe.transformer.inner_dim
    modules["projection"] = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, MEANINGS))
    modules["probe"] = probe = train_t5.PanelProbe(pipe.tokenizer_2)
    train_t5.train(pipe.text_encoder_2, probe, pipe.tokenizer_2, place)
    mean = torch.optim.swa_utils.get_ema_multi_avg_fn(EMA)  # type: ignore[no-untyped-call]
    averaged = torch.optim.swa_utils.AveragedModel(modules, multi_avg_fn=mean)
    descent = Descent([(module, 1e-3) for module in modules.values()], STEPS, inner=[pipe.transformer], rate=warm_level)

    halfway: list[Tensor] = []
    listening = pipe.transformer.transformer_blocks[-1].register_forward_hook(
        lambda *hooked: halfway.append(hooked[-1][1])
    )

    def loss_of(step: int) -> Tensor:
        sample = noised(decks[step >= FILMED_FROM], step)
        halfway.clear()
        text = read(pipe, sample.captions, sample.length)
        loss = functional.mse_loss(velocity(pipe.transformer, sample, text), sample.target)
        alike = functional.cosine_similarity(modules["projection"](halfway[0]), sample.meanings, dim=-1)
        return loss + ALIGNED * (1 - alike.mean()) + PROBED * probe.loss(text.words, text.ids)

    Course("dit", SEED, STEPS, modules, descent, loss_of, lambda _: averaged.update_parameters(modules), averaged).run(
        place
    )
    listening.remove()
    modules.load_state_dict(averaged.module.state_dict())
    guide(pipe, decks[1], place)
    return pipe


def guide(pipe: Any, deck: Deck, place: Place) -> None:
    """Teaches the transformer what its guidance input means, while it keeps learning from the panels.

    At strength g it is to predict c + (g - 1) (c - u), as two passes of a model without that input are combined (Ho and
    Salimans 2022, arXiv 2207.12598). The first c is the panels' own velocity; the difference is that of the transformer
    as it was (the target of Tang et al. 2025, arXiv 2502.12154, whose difference comes from the learning model itself).
    """
    teacher = deepcopy(pipe.transformer).requires_grad_(False)
    for tower in (pipe.text_encoder, pipe.text_encoder_2):
        tower.requires_grad_(False)
    descent = Descent([(pipe.transformer, 5e-4)], GUIDED_STEPS, inner=[pipe.transformer])

    def loss_of(step: int) -> Tensor:
        sample = noised(deck, STEPS + step, dropped=0.0)
        strength = torch.empty(len(sample.captions)).uniform_(*GUIDANCE)
        with torch.no_grad():
            text, nothing = (
                read(pipe, texts, sample.length) for texts in (sample.captions, [""] * len(sample.captions))
            )
            prompted, free = (velocity(teacher, sample, each) for each in (text, nothing))
        target = sample.target + (strength[:, None, None] - 1) * (prompted - free)
        return functional.mse_loss(velocity(pipe.transformer, sample, text, strength), target)

    Course("guided", SEED, GUIDED_STEPS, nn.ModuleDict({"transformer": pipe.transformer}), descent, loss_of).run(place)


@dataclass(frozen=True)
class Text:
    """What the towers make of captions: T5's tokens (B x tokens) and their vectors, and CLIP's summaries."""

    ids: Tensor
    words: Tensor
    pooled: Tensor


def read(pipe: Any, captions: list[str], length: int) -> Text:
    ids = tokens_of(pipe.tokenizer_2, captions, length)
    pooled = pipe.text_encoder(tokens_of(pipe.tokenizer, captions, CLIP_LENGTH)).pooler_output
    return Text(ids, pipe.text_encoder_2(ids).last_hidden_state, pooled)


def velocity(transformer: nn.Module, sample: Sample, text: Text, strength: Tensor | None = None) -> Tensor:
    """The transformer's prediction for a sample; without a strength any will do, as nothing is distilled yet."""
    if strength is None:
        strength = torch.empty(len(sample.noisy)).uniform_(*GUIDANCE)
    return predict(transformer, sample.noisy, token_places(sample.height, sample.width), text, sample.sigma, strength)


def predict(
    transformer: nn.Module, tokens: Tensor, places: Tensor, text: Text, sigma: Tensor, strength: Tensor
) -> Tensor:
    """The transformer's prediction at every token.

    Args:
        tokens: noised latents, packed, and those of a reference after them, if any: B x tokens x 64.
        places: of the tokens: tokens x 3.
        sigma: noise level of each row, 0 to 1.
        strength: guidance strength of each row.
    """
    predicted: Tensor = transformer(
        hidden_states=tokens,
        encoder_hidden_states=text.words,
        pooled_projections=text.pooled,
        timestep=sigma,
        guidance=strength,
        img_ids=places,
        txt_ids=torch.zeros(text.words.shape[1], 3),
        return_dict=False,
    )[0]
    return predicted
