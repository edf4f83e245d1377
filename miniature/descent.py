"""What both trainings share: the optimiser on its way down, and batches that leave no frame out."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import torch
from torch import Tensor, nn

WARM_STEPS = 100


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
