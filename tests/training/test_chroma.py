"""Chroma1-HD, compared with diffusers' own pipeline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pipelines
import pytest
import tiny
import torch
from diffusers import ChromaPipeline
from pipelines import HEIGHT, TEXTS, WIDTH, Pair, close
from torch import Tensor

from training.backends import chroma
from training.backends.base import pack, unpack
from training.job import Job


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tiny.chroma(tmp_path_factory.mktemp("models") / "chroma")
    return pipelines.load(chroma.make, ChromaPipeline, folder)


def theirs(pair: Pair, guidance: float, kind: torch.dtype = torch.bool, **more: Any) -> Tensor:
    """What the pipeline draws.

    Args:
        kind: of the mask over the padding. The pipeline's own is in numbers, which the transformer adds to attention
            scores in place of masking with them.
    """
    text, _, mask, empty, _, empty_mask = pair.pipeline.encode_prompt(TEXTS, "", max_sequence_length=128)
    embeds = {"prompt_embeds": text, "prompt_attention_mask": mask.to(kind)}
    embeds |= {"negative_prompt_embeds": empty, "negative_prompt_attention_mask": empty_mask.to(kind)}
    return pair.drawn(guidance, pack(pair.noise), prompt=None, **embeds, **more)


@torch.inference_mode()
def test_texts_are_the_pipelines_without_what_it_masks(pair: Pair) -> None:
    texts = [*TEXTS, "", "x" * 200]  # the last is cut by both
    expected, _, mask, *_ = pair.pipeline.encode_prompt(texts, max_sequence_length=128)
    for ours, theirs, kept in zip(pair.encode(*texts), expected, mask.bool(), strict=True):
        assert torch.equal(ours["text"], theirs[kept])
    assert [len(one["text"]) for one in pair.encode("a cat", "x" * 200)] == [len("a cat") + 2, 128]
    assert pair.backend.count_tokens(["a cat"]) == [len("a cat") + 1]


@torch.inference_mode()
@pytest.mark.parametrize("guidance", [0.5, 3.5])
def test_sampling_ends_at_the_latents_of_the_pipeline_with_padding_masked(pair: Pair, guidance: float) -> None:
    """Guidance of at most 1 is none, as in the pipeline."""
    close(pack(pair.draw(guidance)), theirs(pair, guidance))


@torch.inference_mode()
def test_the_pipelines_own_mask_lets_padding_through(pair: Pair) -> None:
    """Once diffusers mends it, its pipeline draws as we do, and this and what `encode_text` says of it can go."""
    assert (pack(pair.draw(1.0)) - theirs(pair, 1.0, torch.float32)).abs().max() > 1e-3


@torch.inference_mode()
def test_images_are_decoded_as_by_the_pipeline(pair: Pair) -> None:
    latents = unpack(theirs(pair, 1.0), HEIGHT // 8, WIDTH // 8)
    close(pair.backend.decode_image(pair.pipeline.vae, latents), theirs(pair, 1.0, output_type="pt"))


def test_recomputed_blocks_predict_the_same(pair: Pair) -> None:
    """Under gradient checkpointing, diffusers' single blocks get no mask; ours need none."""
    transformer: Any = pair.backend.load("transformer", torch.float32, "cpu")
    texts, sigma = pair.encode(*TEXTS), torch.tensor([0.3, 0.8])
    noise = pair.noise.requires_grad_()
    plain = pair.backend.predict(transformer, noise, sigma, texts)
    transformer.enable_gradient_checkpointing()
    close(pair.backend.predict(transformer.train(), noise, sigma, texts), plain)


def test_a_lora_of_three_steps_loads_in_the_pipeline(pair: Pair, make_job: Callable[..., Job], grids: Path) -> None:
    settings: dict[str, Any] = {
        "model": pair.backend.model,
        "steps": 3,
        "learning_rate": 0.05,
        "conditional": 0.5,
        "data": grids / "train",
    }
    pipelines.check_lora(pair, make_job(overrides=['base="chroma"'], **settings))
