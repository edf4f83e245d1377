"""The mini FLUX: a reader of panels, then a VAE, then the transformer with its text towers; resumable at any moment.

What a step does hangs on its number alone, and every two minutes all that it needs to go on is written to
`.training/flux`; whatever ends it, the same command goes on from there.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

from miniature.descent import Descent, warm_level
from miniature.flux_parts import CLIP_LENGTH, build_pipeline, build_vae, image_ids, pack, tokens_of
from miniature.frames import ATTRIBUTES, Pool, labels_of
from miniature.lessons import PANELS, caption, is_held_out, render
from miniature.reader import Reader
from miniature.spelling import T5_LENGTH

SEED = 7_000_000_000  # above every other seed of the miniature
SAVE_EVERY = 120.0  # seconds
FRAMES = 24_000
READER_STEPS, VAE_STEPS, DIT_STEPS, GUIDED_STEPS = 800, 1_500, 6_000, 600
SINGLES, PAGES = 32, 12  # pictures or pages a step
LENGTHS = (24, 80)  # tokens of text that a picture's and a page's caption are padded to, at least
PADDED = 0.15  # share of the steps whose texts are padded to the full length, as the pipeline does
SHIFT = 1.6  # of the noise levels: FLUX.1's own for so short a sequence
EMA = 0.999
RAMP = 4_000  # steps in which the share of steps with pictures goes from two thirds to one third
GUIDANCE = (1.0, 4.5)  # strengths that the model is taught to draw at in one pass
DROPPED = 0.1  # share of the captions left out, so that guidance with an empty prompt is possible
PERCEIVED = 0.3  # what the reader's features weigh in the VAE's loss
KL = 1e-6


@dataclass
class Place:
    """Where the training stands: kept on disk, written whole or not at all."""

    folder: Path
    last: float = 0.0

    def load(self, name: str) -> dict[str, Any] | None:
        file = self.folder / f"{name}.pt"
        return torch.load(file, weights_only=False) if file.exists() else None

    def save(self, name: str, state: dict[str, Any], *, now: bool = False) -> None:
        if not now and time.monotonic() - self.last < SAVE_EVERY:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f"{name}.part"
        torch.save(state, part)
        part.replace(self.folder / f"{name}.pt")
        self.last = time.monotonic()


def train(out: Path) -> None:
    place = Place(out.parent / ".training" / "flux")
    torch.manual_seed(SEED)
    pool = render(FRAMES, SEED)
    reader = train_reader(pool, place)
    vae = train_vae(pool, reader, place)
    train_dit(pool, vae, place, out)


def descend(
    name: str, modules: nn.ModuleDict, descent: Descent, steps: int, place: Place, loss_of: Callable[[int], Tensor],
    after: Callable[[int], None] = lambda _: None, more: nn.Module | None = None,
) -> None:  # fmt: skip
    """Steps from wherever the last run stopped; prints the mean loss of every hundred."""
    state = place.load(name)
    start = 0
    if state:
        start = state["step"]
        modules.load_state_dict(state["modules"])
        if more is not None:
            more.load_state_dict(state["more"])
        for optimiser, kept in zip(descent.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(kept)
        for schedule, kept in zip(descent.schedules, state["schedules"], strict=True):
            schedule.load_state_dict(kept)
    mean, clock = 0.0, time.perf_counter()
    for step in range(start, steps):
        torch.manual_seed(SEED + step)
        loss = loss_of(step)
        descent.step(loss)
        after(step)
        mean += float(loss.detach()) / 100
        if (step + 1) % 100 == 0:
            print(f"{name} {step + 1} of {steps}: loss {mean:.4f}, {time.perf_counter() - clock:.0f} s", flush=True)
            mean, clock = 0.0, time.perf_counter()
        place.save(
            name,
            {
                "step": step + 1,
                "modules": modules.state_dict(),
                "more": more.state_dict() if more is not None else None,
                "optimisers": [optimiser.state_dict() for optimiser in descent.optimisers],
                "schedules": [schedule.state_dict() for schedule in descent.schedules],
            },
            now=step + 1 == steps,
        )


def pixels(pool: Pool, some: list[int]) -> Tensor:
    """Panels as B x 3 x H x W, 0..1."""
    return torch.from_numpy(pool.frames[some]).permute(0, 3, 1, 2).float() / 255


# ---- the reader


def train_reader(pool: Pool, place: Place) -> Reader:
    reader = Reader()
    labels = torch.tensor([labels_of(scene) for scene in pool.scenes])
    descent = Descent([(reader, 3e-3)], READER_STEPS)

    def loss_of(step: int) -> Tensor:
        some = random.Random(step).sample(range(FRAMES), 64)
        panels = worn(pixels(pool, some))
        told = reader(panels)
        losses = [functional.cross_entropy(logits, labels[some, a]) for a, logits in enumerate(told)]
        return torch.stack(losses).mean()

    descend("reader", nn.ModuleDict({"reader": reader}), descent, READER_STEPS, place, loss_of)
    reader.eval().save()
    held = render(1_000, SEED + 1_000_000)
    true = torch.tensor([labels_of(scene) for scene in held.scenes])
    with torch.inference_mode():
        told = torch.stack([logits.argmax(-1) for logits in reader(pixels(held, list(range(1_000))))], 1)
    rights = (told == true).float().mean(0).tolist()
    print("reader", {name: round(right, 3) for name, right in zip(ATTRIBUTES, rights, strict=True)}, flush=True)
    return reader.requires_grad_(False)


def worn(panels: Tensor) -> Tensor:
    """Panels as a generator may give them: a little blurred, noisy or of another brightness."""
    if torch.rand(()) < 0.5:
        small = functional.interpolate(panels, scale_factor=float(torch.empty(()).uniform_(0.5, 0.95)), mode="area")
        panels = functional.interpolate(small, size=panels.shape[-2:], mode="bilinear")
    gain = torch.empty(len(panels), 1, 1, 1).uniform_(0.85, 1.15)
    return (panels * gain + 0.03 * torch.randn_like(panels)).clamp(0, 1)


# ---- the VAE


def train_vae(pool: Pool, reader: Reader, place: Place) -> AutoencoderKL:
    vae = build_vae()
    descent = Descent([(vae, 2e-3)], VAE_STEPS)

    def loss_of(step: int) -> Tensor:
        panels = pixels(pool, random.Random(step).sample(range(FRAMES), 12))
        drawn, kl = through(vae, panels * 2 - 1)
        drawn = (drawn + 1) / 2
        edges = sum(functional.l1_loss(drawn.diff(dim=side), panels.diff(dim=side)) for side in (-1, -2))
        seen, shown = reader.features(drawn), reader.features(panels)
        perceived = sum(functional.l1_loss(a, b) for a, b in zip(seen[:3], shown[:3], strict=True))
        return functional.l1_loss(drawn, panels) + edges + PERCEIVED * perceived / 3 + KL * kl

    descend("vae", nn.ModuleDict({"vae": vae}), descent, VAE_STEPS, place, loss_of)
    vae.eval().requires_grad_(False)
    with torch.inference_mode():
        latents = vae.encode(pixels(pool, list(range(500))) * 2 - 1).latent_dist.mean
    vae.register_to_config(
        shift_factor=round(float(latents.mean()), 4), scaling_factor=round(1 / float(latents.std()), 4)
    )
    return vae


def through(vae: AutoencoderKL, panels: Tensor) -> tuple[Tensor, Tensor]:
    posterior = vae.encode(panels).latent_dist
    return vae.decode(posterior.sample()).sample, posterior.kl().mean()


# ---- the transformer and its text towers


class Deck:
    """Panels and pages as scaled latents, with the scenes that they show."""

    def __init__(self, pool: Pool, vae: AutoencoderKL, place: Place) -> None:
        self.pool = pool
        kept = place.load("latents") or {}
        if not kept:
            known = [number for number, scene in enumerate(pool.scenes) if not is_held_out(scene.character)]
            random.Random(SEED).shuffle(known)
            pages = [known[start : start + PANELS] for start in range(0, len(known) - PANELS + 1, PANELS)]
            kept = {
                "singles": self._encode(vae, [[number] for number in known]),
                "pages": self._encode(vae, pages),
                "known": known,
            }
            place.save("latents", kept, now=True)
        self.singles, self.pages = kept["singles"], kept["pages"]
        self.scenes = [pool.scenes[number] for number in kept["known"]]

    @torch.inference_mode()
    def _encode(self, vae: AutoencoderKL, pages: list[list[int]]) -> Tensor:
        """Means only: the posteriors of so slightly regularised a VAE are narrow."""
        rows = []
        for start in range(0, len(pages), 64):
            some = pages[start : start + 64]
            panels = pixels(self.pool, [number for page in some for number in page])
            stacked = panels.view(len(some), -1, *panels.shape[1:]).permute(0, 2, 1, 3, 4).flatten(2, 3)
            mean = vae.encode(stacked * 2 - 1).latent_dist.mean
            rows.append(((mean - vae.config.shift_factor) * vae.config.scaling_factor).half())
        return torch.cat(rows)

    def draw(self, step: int) -> tuple[Tensor, list[str]]:
        """Latents and captions of a step: pictures twice as often as pages at first, half as often in the end."""
        rng = random.Random(SEED + step)
        if rng.random() < (2 - min(1, step / RAMP)) / 3:
            some = rng.sample(range(len(self.singles)), SINGLES)
            return self.singles[some].float(), [caption([self.scenes[number]], rng) for number in some]
        some = rng.sample(range(len(self.pages)), PAGES)
        told = [caption(self.scenes[PANELS * page : PANELS * (page + 1)], rng) for page in some]
        return self.pages[some].float(), told


def train_dit(pool: Pool, vae: AutoencoderKL, place: Place, out: Path) -> None:
    torch.manual_seed(SEED)
    pipe = build_pipeline()
    pipe.vae.load_state_dict(vae.state_dict())
    pipe.vae.register_to_config(shift_factor=vae.config.shift_factor, scaling_factor=vae.config.scaling_factor)
    deck = Deck(pool, vae, place)
    names = ("transformer", "text_encoder", "text_encoder_2")
    modules = nn.ModuleDict({name: getattr(pipe, name) for name in names})
    averaged = torch.optim.swa_utils.AveragedModel(
        modules, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(EMA)
    )
    descent = Descent(
        [(module, 1e-3) for module in modules.values()], DIT_STEPS, inner=[pipe.transformer], rate=warm_level
    )

    def loss_of(step: int) -> Tensor:
        sample = noised(deck, step)
        return functional.mse_loss(velocity(pipe, sample, sample.told), sample.target)

    descend("dit", modules, descent, DIT_STEPS, place, loss_of, lambda _: averaged.update_parameters(modules), averaged)
    modules.load_state_dict(averaged.module.state_dict())
    guide(pipe, deck, place)
    pipe.to(torch.float16).save_pretrained(out)


def guide(pipe: Any, deck: Deck, place: Place) -> None:
    """Teaches the transformer what its guidance input means, as FLUX.1-dev was taught (Meng et al. 2023, 2210.03142):
    one pass at strength g gives what the undistilled model gives in two, u + g (c - u)."""
    teacher = deepcopy(pipe.transformer).requires_grad_(False)
    for tower in (pipe.text_encoder, pipe.text_encoder_2):
        tower.requires_grad_(False)
    descent = Descent([(pipe.transformer, 3e-4)], GUIDED_STEPS)

    def loss_of(step: int) -> Tensor:
        sample = noised(deck, DIT_STEPS + step, dropped=0.0)
        strength = torch.empty(len(sample.told)).uniform_(*GUIDANCE)
        with torch.no_grad():
            told = velocity(pipe, sample, sample.told, of=teacher)
            free = velocity(pipe, sample, [""] * len(sample.told), of=teacher)
        return functional.mse_loss(
            velocity(pipe, sample, sample.told, strength), torch.lerp(free, told, strength[:, None, None])
        )

    descend("guided", nn.ModuleDict({"transformer": pipe.transformer}), descent, GUIDED_STEPS, place, loss_of)


@dataclass(frozen=True)
class Sample:
    """Pictures or pages of a step: noisy latents and velocities (B x tokens x 64), noise levels, texts and their length."""

    noisy: Tensor
    target: Tensor
    sigma: Tensor
    told: list[str]
    length: int
    rows: int
    columns: int


def noised(deck: Deck, step: int, *, dropped: float = DROPPED) -> Sample:
    """At logit-normal noise levels shifted as at inference (SD3 paper, section 3)."""
    latents, told = deck.draw(step)
    rng = random.Random(step)
    told = ["" if rng.random() < dropped else text for text in told]
    b, _, h, w = latents.shape
    length = LENGTHS[h > w] + rng.randrange(16)
    if rng.random() < PADDED:
        length = T5_LENGTH
    noise = torch.randn_like(latents)
    sigma = torch.sigmoid(torch.randn(b))
    sigma = SHIFT * sigma / (1 + (SHIFT - 1) * sigma)
    noisy = torch.lerp(latents, noise, sigma[:, None, None, None])
    return Sample(pack(noisy), pack(noise - latents), sigma, told, length, h // 2, w // 2)


def velocity(
    pipe: Any, sample: Sample, told: list[str], strength: Tensor | None = None, of: nn.Module | None = None
) -> Tensor:
    """What the transformer (or `of`) makes of a sample; no strength: any, as nothing is distilled yet."""
    text = pipe.text_encoder_2(tokens_of(pipe.tokenizer_2, told, sample.length)).last_hidden_state
    pooled = pipe.text_encoder(tokens_of(pipe.tokenizer, told, CLIP_LENGTH)).pooler_output
    predicted: Tensor = (of or pipe.transformer)(
        hidden_states=sample.noisy,
        encoder_hidden_states=text,
        pooled_projections=pooled,
        timestep=sample.sigma,
        guidance=torch.empty(len(told)).uniform_(*GUIDANCE) if strength is None else strength,
        img_ids=image_ids(sample.rows, sample.columns),
        txt_ids=torch.zeros(sample.length, 3),
        return_dict=False,
    )[0]
    return predicted
