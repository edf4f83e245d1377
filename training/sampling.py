"""Drawing grids: Euler's method down the scheduler's own noise levels, panels that are given kept as they are.

Shapes: B grids, C latent channels, H and W rows and columns of latents.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.errors import BadInput
from training import flow
from training.backends.base import Backend, Encoded

Kept = Literal["clean", "noised"]
"""How the model sees given panels: clean at every step, as a conditional LoRA has learnt to, or noised to the step's
level (inpainting without training, as the paper did)."""


@dataclass(frozen=True)
class Given:
    """Panels that are there before drawing begins."""

    latents_BCHW: Tensor
    """In their places on the canvas; the rest is not looked at."""
    mask: Tensor
    """1 where they are, 0 elsewhere; a mask of all grids or, B x 1 x H x W, one for each."""
    kept: Kept = "clean"


def noise_levels(backend: Backend, steps: int, tokens: int) -> Tensor:
    """From 1 to 0, as the model's own pipeline spaces them; steps + 1 values."""
    from diffusers import FlowMatchEulerDiscreteScheduler
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    scheduler = FlowMatchEulerDiscreteScheduler.from_config(dict(backend.config("scheduler")))  # type: ignore[no-untyped-call]
    known: Any = scheduler.config
    ends = (known.base_image_seq_len, known.max_image_seq_len, known.base_shift, known.max_shift)
    mu = calculate_shift(tokens, *ends) if known.use_dynamic_shifting else None
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps).tolist(), mu=mu)
    levels: Tensor = scheduler.sigmas
    return levels.cpu()


@dataclass(frozen=True)
class SamplingSettings:
    """How grids are drawn."""

    steps: int
    guidance: float


@dataclass(frozen=True)
class Prompts:
    """What is to be drawn, one text a grid, as the model reads it."""

    texts: Sequence[Encoded]
    empty: Encoded
    """The empty text, which some families compare with."""


@torch.inference_mode()
def draw(
    backend: Backend,
    transformer: Any,
    prompts: Prompts,
    noise_BCHW: Tensor,
    settings: SamplingSettings,
    given: Given | None = None,
) -> Tensor:
    """Latents of one grid a text, from noise: B x C x H x W."""
    height, width = noise_BCHW.shape[-2:]
    levels = noise_levels(backend, settings.steps, height * width // 4).to(noise_BCHW.device)
    x = noise_BCHW
    for level, following in itertools.pairwise(levels):
        if given:
            x = _with_given(x, given, noise_BCHW, level)
        sigma = level.expand(len(x))
        x = x + (following - level) * backend.guided(
            transformer, x, sigma, prompts.texts, prompts.empty, settings.guidance
        )
    return _with_given(x, given, noise_BCHW, levels[-1]) if given else x


def _with_given(x_BCHW: Tensor, given: Given, noise_BCHW: Tensor, level: Tensor) -> Tensor:
    panels = given.latents_BCHW
    if given.kept == "noised":
        panels = flow.add_noise(panels, noise_BCHW, level.expand(len(panels)))
    return torch.lerp(x_BCHW, panels, given.mask)


def to_images(backend: Backend, vae: Any, latents_BCHW: Tensor) -> list[Image.Image]:
    """Grids as pictures, decoded one by one: a page of the real size takes gigabytes.

    Raises:
        BadInput: the VAE gives what is no number, which would come out black.
    """
    images = []
    for latents in latents_BCHW:
        pixels = backend.decode_image(vae, latents[None])[0]
        if not pixels.isfinite().all():
            raise BadInput(f"the VAE of {backend.model} gives what is no number and no picture; give a whole base.")
        images.append(Image.fromarray((pixels * 255).round().byte().permute(1, 2, 0).numpy()))
    return images
