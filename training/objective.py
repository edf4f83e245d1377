"""The objective: rectified flow on panel grids, its paths, targets, noise levels and losses. Knows no model.

Shapes: B grids, C latent channels, H and W rows and columns of latents, P panels.
A noise level sigma lies in (0, 1): 0 is the image, 1 is noise (Liu et al. 2022, arXiv 2209.03003).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

LEAST = 2.0**-24
"""The least uniform noise level, between 0 and the next that is drawn."""
Box = tuple[int, int, int, int]
"""Left, top, right, bottom; in pixels or in latents."""


def add_noise(latents_BCHW: Tensor, noise_BCHW: Tensor, sigma_B: Tensor) -> Tensor:
    """The point at `sigma` on the straight path from image (0) to noise (1)."""
    sigma_B111 = sigma_B[:, None, None, None]
    return (1 - sigma_B111) * latents_BCHW + sigma_B111 * noise_BCHW


def velocity(latents_BCHW: Tensor, noise_BCHW: Tensor) -> Tensor:
    """The target at every point of the path: noise minus image."""
    return noise_BCHW - latents_BCHW


def shifted(sigma: Tensor, factor: float) -> Tensor:
    """Noise levels of one resolution as they are at another (Esser et al. 2024, arXiv 2403.03206, equation 23)."""
    return factor * sigma / (1 + (factor - 1) * sigma)


def draw_sigma(factor: float, generator: torch.Generator, *, uniform: bool = False) -> Tensor:
    """One noise level, logit-normal (the same paper, section 3.1) or uniform, then shifted; a scalar on the CPU."""
    if uniform:
        return shifted(torch.rand((), generator=generator).clamp_min(LEAST), factor)
    return shifted(torch.sigmoid(torch.randn((), generator=generator)), factor)


def bell(sigma: Tensor) -> Tensor:
    """Weights that favour the middle of the path: 0 at pure noise and at the image, 1.58 halfway, 1 in the mean.

    ai-toolkit's `timestep_type: weighted` (toolkit/samplers/custom_flowmatch_sampler.py) has a table of the same curve.
    """
    ends = math.exp(-0.5)
    mean = math.sqrt(math.pi / 2) * math.erf(math.sqrt(0.5)) - ends
    return (torch.exp(-2 * (sigma - 0.5).square()) - ends) / mean


def panel_mask(boxes: Sequence[Box], panels: Sequence[int], height: int, width: int) -> Tensor:
    """1 on the given panels (from 0), 0 elsewhere: H x W.

    Args:
        boxes: all panels in latents.
    """
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
    """Weighted mean over the panels of each grid: B. Panels of weight 0 (given ones) do not count at all."""
    return (losses_BP * weights_BP).sum(1) / weights_BP.sum(1)
