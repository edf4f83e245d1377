"""Sampling grids: Euler's method down the model's own noise levels, with given panels kept as they are.

Shapes: B grids, C latent channels, H and W rows and columns of latents.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor

from pipeline.errors import BadInput
from training import objective
from training.backends.base import Backend, Prompts

GivenAs = Literal["clean", "noised"]
"""How the model sees given panels: clean at every step, as a conditional LoRA has learnt, or noised to the level of the
step (inpainting without training, as in the paper)."""


@dataclass(frozen=True)
class GivenPanels:
    """Panels that are there before sampling begins."""

    latents_BCHW: Tensor
    """In their places on the canvas; the rest is ignored."""
    mask: Tensor
    """1 on given panels, 0 elsewhere: H x W for all grids, or B x 1 x H x W."""
    seen: GivenAs = "clean"


@dataclass(frozen=True)
class SamplingSettings:
    """How grids are sampled."""

    steps: int
    guidance: float
    """Strength of the prompt, as the model's own pipeline counts it; ignored by models without guidance."""


@torch.inference_mode()
def draw(  # noqa: PLR0913  (what the model sees, and how)
    backend: Backend,
    transformer: Any,
    prompts: Prompts,
    noise_BCHW: Tensor,
    settings: SamplingSettings,
    given: GivenPanels | None = None,
    *,
    stepped: Callable[[], None] = lambda: None,
) -> Tensor:
    """Latents of one grid per prompt, from noise: B x C x H x W.

    Args:
        stepped: called after every step.
    """
    height, width = (side * backend.STRIDE for side in noise_BCHW.shape[-2:])
    levels = backend.noise_levels(settings.steps, backend.tokens((width, height))).to(noise_BCHW.device)
    x = noise_BCHW
    for level, following in itertools.pairwise(levels):
        sigma = level.expand(len(x))
        seen = _with_given(backend, x, given, noise_BCHW, sigma) if given else x
        x = x + (following - level) * backend.guided(transformer, seen, sigma, prompts, settings.guidance)
        stepped()
    return torch.lerp(x, given.latents_BCHW, given.mask) if given else x


def _with_given(backend: Backend, x_BCHW: Tensor, given: GivenPanels, noise_BCHW: Tensor, sigma_B: Tensor) -> Tensor:
    panels = given.latents_BCHW
    if given.seen == "noised":
        panels = objective.add_noise(panels, noise_BCHW, sigma_B)
    return backend.with_given(x_BCHW, panels, given.mask)


def to_images(backend: Backend, vae: Any, latents_BCHW: Tensor) -> list[Image.Image]:
    """Grids as pictures, decoded one by one: a page at full size takes gigabytes.

    Raises:
        BadInput: the VAE decodes to NaN or infinity, which would come out black.
    """
    images = []
    for latents in latents_BCHW:
        pixels = backend.decode_image(vae, latents[None])[0]
        if not pixels.isfinite().all():
            raise BadInput(f"the VAE of {backend.model} decodes to NaN or infinity; use an undamaged base model.")
        images.append(Image.fromarray((pixels * 255).round().byte().permute(1, 2, 0).numpy()))
    return images
