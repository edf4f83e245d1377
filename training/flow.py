"""The maths of rectified flow on panel grids: paths, targets, noise levels, losses. Nothing here knows a model.

Shapes: B samples, C latent channels, H and W rows and columns of latents (pixels / 8), P panels.
A noise level sigma lies in (0, 1): 0 is the image, 1 is noise (Liu et al. 2022, arXiv 2209.03003).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pipeline.records import Layout

Box = tuple[int, int, int, int]
"""Left, top, right, bottom; of pixels or latents, as told."""

STRIDE = 8
"""Pixels a latent, in either direction."""
TOKEN = 16
"""Pixels a token: two latents in either direction."""


def tokens(layout: Layout) -> int:
    """Tokens of a canvas."""
    return math.prod(layout.canvas) // TOKEN**2


def add_noise(latents_BCHW: Tensor, noise_BCHW: Tensor, sigma_B: Tensor) -> Tensor:
    """The point at `sigma` on the straight path from image (0) to noise (1)."""
    sigma_B111 = sigma_B[:, None, None, None]
    return (1 - sigma_B111) * latents_BCHW + sigma_B111 * noise_BCHW


def velocity(latents_BCHW: Tensor, noise_BCHW: Tensor) -> Tensor:
    """What the model is to predict at every point of the path: noise minus image."""
    return noise_BCHW - latents_BCHW


def shift_factor(scheduler: Mapping[str, Any], tokens: int) -> float:
    """By how much noise levels are pushed towards noise for a canvas of so many tokens, as at inference.

    Models with a shift that follows the resolution (FLUX.1-dev) have e^mu with mu in a line from `base_shift` at
    `base_image_seq_len` to `max_shift` at `max_image_seq_len` tokens (diffusers, pipeline_flux.py, calculate_shift).
    Beyond `max_shift` it is capped here: at 1024 x 1536 pixels the line goes on to 4.5 times, where hardly a step would
    see little noise. Others (FLUX.1-schnell, Z-Image) have one number.

    Args:
        scheduler: the model's scheduler_config.json.
    """
    if not scheduler.get("use_dynamic_shifting"):
        return float(scheduler.get("shift", 1.0))
    low, high = scheduler.get("base_image_seq_len", 256), scheduler.get("max_image_seq_len", 4096)
    least, most = scheduler.get("base_shift", 0.5), scheduler.get("max_shift", 1.15)
    mu = least + (most - least) * (tokens - low) / (high - low)
    return math.exp(min(mu, most))


def shifted(sigma: Tensor, factor: float) -> Tensor:
    """Noise levels of one resolution as they are at another (Esser et al. 2024, arXiv 2403.03206, equation 23)."""
    return factor * sigma / (1 + (factor - 1) * sigma)


def draw_sigma(factor: float, generator: torch.Generator) -> Tensor:
    """One logit-normal noise level, shifted; a scalar tensor on the CPU (the same paper, section 3.1)."""
    return shifted(torch.sigmoid(torch.randn((), generator=generator)), factor)


def latent_boxes(boxes: Sequence[Box]) -> tuple[Box, ...]:
    """Boxes of pixels as boxes of latents."""
    return tuple(
        (left // STRIDE, top // STRIDE, right // STRIDE, bottom // STRIDE) for left, top, right, bottom in boxes
    )


def panel_mask(boxes: Sequence[Box], panels: Sequence[int], height: int, width: int) -> Tensor:
    """1 on the panels named (from 0), 0 elsewhere; H x W latents."""
    mask = torch.zeros(height, width)
    for panel in panels:
        left, top, right, bottom = boxes[panel]
        mask[top:bottom, left:right] = 1
    return mask


def panel_losses(predicted_BCHW: Tensor, target_BCHW: Tensor, boxes: Sequence[Box]) -> Tensor:
    """Mean squared error of every panel, in float32: B x P.

    Args:
        boxes: the panels in latents.
    """
    squares = (predicted_BCHW.float() - target_BCHW.float()).square()
    means = [squares[:, :, top:bottom, left:right].mean(dim=(1, 2, 3)) for left, top, right, bottom in boxes]
    return torch.stack(means, dim=1)


def grid_loss(losses_BP: Tensor, weights_BP: Tensor) -> Tensor:
    """Mean over a grid's panels by their weights: B. Panels of weight 0 (those given) don't count at all."""
    return (losses_BP * weights_BP).sum(1) / weights_BP.sum(1)
