"""Shared by all trainings: the optimiser, its learning-rate schedules, and batches that leave no frame out."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from miniature.making.frames import Frames

WARM_STEPS = 100
MUON_RATE = 20.0  # times the learning rate of AdamW: an orthogonal step is smaller in every entry
MIRRORED = 0.5  # share of the batches

Part = TypeVar("Part")
Item = TypeVar("Item")


class Muon(torch.optim.Optimizer):
    """Momentum made orthogonal before it is applied, for matrices (Jordan 2024, kellerjordan.github.io/posts/muon).

    torch's own computes in bfloat16, which is thirty times as slow on a CPU without instructions for it; here, matrices
    of equal shape are also processed together.
    """

    MOMENTUM, DECAY = 0.95, 0.01

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        super().__init__(groups, {})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        alike: dict[tuple[int, ...], list[tuple[nn.Parameter, Tensor, float]]] = {}
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                momentum = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
                momentum.lerp_(matrix.grad, 1 - self.MOMENTUM)
                ahead = matrix.grad.lerp(momentum, self.MOMENTUM)
                alike.setdefault(tuple(matrix.shape), []).append((matrix, ahead, group["lr"]))
        for (rows, columns), some in alike.items():
            ways = orthogonal(torch.stack([ahead for _, ahead, _ in some]))
            for (matrix, _, rate), way in zip(some, ways, strict=True):
                matrix.mul_(1 - rate * self.DECAY).sub_(way, alpha=rate * max(1.0, rows / columns) ** 0.5)


def orthogonal(matrices_NRC: Tensor) -> Tensor:
    """The nearest orthogonal matrices, approximately: five Newton-Schulz steps with Jordan's coefficients.

    Every step multiplies by a polynomial in the Gram matrix. These polynomials are accumulated in the smaller of the
    two dimensions and the matrices multiplied once, which for those of the mini FLUX takes four fifths of the time.
    """
    wide: Tensor = matrices_NRC if matrices_NRC.shape[1] <= matrices_NRC.shape[2] else matrices_NRC.mT
    x: Tensor = wide / torch.linalg.matrix_norm(wide, keepdim=True).clamp(min=1e-7)
    gram = x @ x.mT
    step = gathered = _newton_schulz(gram)
    for _ in range(4):
        gram = step @ gram @ step
        step = _newton_schulz(gram)
        gathered = step @ gathered
    x = gathered @ x
    return x if wide is matrices_NRC else x.mT


def _newton_schulz(gram_NRR: Tensor) -> Tensor:
    """The factor of one step: 3.4445 - 4.775 G + 2.0315 G^2."""
    polynomial = torch.baddbmm(gram_NRR, gram_NRR, gram_NRR, beta=-4.775, alpha=2.0315)
    polynomial.diagonal(dim1=1, dim2=2).add_(3.4445)
    return polynomial


class Descent:
    """Optimises with AdamW, each group at its own peak rate, and with Muon for the matrices inside.

    Args:
        inner: the modules whose linear layers are optimised by Muon, at MUON_RATE times the group's rate. After 300
            steps, the mini VLM's vision tower recognised 0.74 of the kinds this way, 0.56 with AdamW alone (LOG.md).
        rate: learning rate as a share of its peak, from a step and the number of steps; `warm_cosine` by default.
    """

    def __init__(
        self,
        groups: list[tuple[nn.Module, float]],
        steps: int,
        *,
        inner: Sequence[nn.Module] = (),
        rate: Callable[[int, int], float] | None = None,
    ) -> None:
        self.parameters = [parameter for module, _ in groups for parameter in module.parameters()]
        matrices = {
            id(layer.weight): (layer.weight, MUON_RATE * rate)
            for module, rate in groups
            if module in inner
            for layer in module.modules()
            if isinstance(layer, nn.Linear)
        }
        adam = torch.optim.AdamW(
            [
                {"params": [p for p in module.parameters() if id(p) not in matrices], "lr": rate}
                for module, rate in groups
            ],
            weight_decay=0.03,
            betas=(0.9, 0.98),
            fused=True,
        )
        self.optimisers: list[torch.optim.Optimizer] = [adam]
        if matrices:
            self.optimisers.append(Muon([{"params": [matrix], "lr": rate} for matrix, rate in matrices.values()]))
        self.schedules = [
            torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: (rate or warm_cosine)(step, steps))
            for optimiser in self.optimisers
        ]

    def step(self, loss: Tensor) -> None:
        for optimiser in self.optimisers:
            optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._follow()

    def step_in_parts(self, loss_of: Callable[[Part], Tensor], parts: Sequence[Part]) -> float:
        """A step by the mean of the losses of a batch's parts, which it returns; each part has a thread of its own.

        For a small model, two threads that compute halves of a batch are 1.7 times as fast as two threads that share
        every operation (LOG.md). The result doesn't depend on which of them is done first.
        """
        trained = [parameter for parameter in self.parameters if parameter.requires_grad]

        def slopes(part: Part) -> tuple[Tensor, tuple[Tensor | None, ...]]:
            loss = loss_of(part)
            return loss.detach(), torch.autograd.grad(loss, trained, allow_unused=True)

        with_threads = max(1, torch.get_num_threads() // len(parts))
        with ThreadPoolExecutor(len(parts), initializer=torch.set_num_threads, initargs=(with_threads,)) as workers:
            losses, gradients = zip(*workers.map(slopes, parts), strict=True)
        for optimiser in self.optimisers:
            optimiser.zero_grad()
        for parameter, *some in zip(trained, *gradients, strict=True):
            if some[0] is not None:
                parameter.grad = sum(some[1:], start=some[0]) / len(some)
        self._follow()
        return float(sum(losses) / len(losses))

    def _follow(self) -> None:
        """Moves all parameters along their gradients."""
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        for schedule in self.schedules:
            schedule.step()


def warm_cosine(step: int, steps: int) -> float:
    """Learning rate as a share of its peak: a warmup over WARM_STEPS, then a cosine down to zero."""
    return min((step + 1) / WARM_STEPS, 0.5 + 0.5 * math.cos(math.pi * step / steps))


def warm_level(step: int, steps: int) -> float:
    """Learning rate as a share of its peak: a warmup over WARM_STEPS, constant, linear to zero over the last fifth."""
    return min((step + 1) / WARM_STEPS, 1.0, 5 * (1 - step / steps))


def shuffled(count: int, batch: int, rng: random.Random) -> Iterator[list[int]]:
    """Endless batches of indices; every index comes once before any is repeated."""
    waiting: list[int] = []
    while True:
        while len(waiting) < batch:
            fresh = list(range(count))
            rng.shuffle(fresh)
            waiting += fresh
        yield waiting[:batch]
        waiting = waiting[batch:]


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items of an endless iterator, each prepared by another thread while the previous one is used."""
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as worker:
        coming = worker.submit(next, items)
        while True:
            item = coming.result()
            coming = worker.submit(next, items)
            yield item


def look(frames: Frames, rng: random.Random) -> Tensor:
    """Pixels as both models want them (mean 0.5, deviation 0.25), some mirrored, each lit a little differently."""
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float().div_(255)
    if rng.random() < MIRRORED:
        pixels = pixels.flip(-1)
    gain = torch.empty(len(pixels), 1, 1, 1).uniform_(0.85, 1.15)
    shift = torch.empty(len(pixels), 3, 1, 1).uniform_(-0.04, 0.04)
    return (pixels * gain + shift).clamp_(0, 1).sub_(0.5).div_(0.25)
