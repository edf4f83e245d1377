"""What both trainings share: the optimiser on its way down, batches that leave no frame out, and pixels as seen."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from miniature.frames import Frames

WARM_STEPS = 100
MIRRORED = 0.5  # share of the batches


class Descent:
    """AdamW down a warm cosine, each group of parameters at its own peak rate."""

    def __init__(self, groups: list[tuple[nn.Module, float]], steps: int) -> None:
        self.parameters = [parameter for module, _ in groups for parameter in module.parameters()]
        self.optimiser = torch.optim.AdamW(
            [{"params": list(module.parameters()), "lr": rate} for module, rate in groups],
            weight_decay=0.03,
            betas=(0.9, 0.98),
            fused=True,
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, lambda step: warm_cosine(step, steps))

    def step(self, loss: Tensor) -> None:
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.schedule.step()


def warm_cosine(step: int, steps: int) -> float:
    """Learning rate as a share of its peak: up over WARM_STEPS, then down to nothing along a cosine."""
    return min((step + 1) / WARM_STEPS, 0.5 + 0.5 * math.cos(math.pi * step / steps))


def shuffled(count: int, batch: int, rng: random.Random) -> Iterator[list[int]]:
    """Batches of indices without end, every one once before any comes again."""
    waiting: list[int] = []
    while True:
        while len(waiting) < batch:
            fresh = list(range(count))
            rng.shuffle(fresh)
            waiting += fresh
        yield waiting[:batch]
        waiting = waiting[batch:]


def look(frames: Frames, rng: random.Random) -> Tensor:
    """Pixels as both models want them (mean 0.5, deviation 0.25), some mirrored, each lit a little differently."""
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float().div_(255)
    if rng.random() < MIRRORED:
        pixels = pixels.flip(-1)
    gain = torch.empty(len(pixels), 1, 1, 1).uniform_(0.85, 1.15)
    shift = torch.empty(len(pixels), 3, 1, 1).uniform_(-0.04, 0.04)
    return (pixels * gain + shift).clamp_(0, 1).sub_(0.5).div_(0.25)
