"""A training that may be stopped at any moment: a step depends only on its number, and everything else is on disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from miniature.making.descent import Descent

SAVE_EVERY = 120.0  # seconds
REPORT_EVERY = 100  # steps whose mean loss is printed


@dataclass
class Place:
    """The state of a training: kept on disk, written completely or not at all."""

    folder: Path
    last: float = 0.0

    def load(self, name: str) -> dict[str, Any] | None:
        file = self.folder / f"{name}.pt"
        return torch.load(file, weights_only=False) if file.exists() else None

    @property
    def is_due(self) -> bool:
        """Whether enough time has passed to write the state again."""
        return time.monotonic() - self.last >= SAVE_EVERY

    def save(self, name: str, state: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f"{name}.part"
        torch.save(state, part)
        part.replace(self.folder / f"{name}.pt")
        self.last = time.monotonic()


@dataclass
class Course:
    """One stage of a training: what is trained, for how long, and what else must be saved to resume it.

    Args:
        modules: what is trained.
        more: a module saved with them (averaged weights); `after` is called after every step.
    """

    name: str
    seed: int
    steps: int
    modules: nn.ModuleDict
    descent: Descent
    loss_of: Callable[[int], Tensor]
    after: Callable[[int], None] = lambda _: None
    more: nn.Module | None = None

    def run(self, place: Place) -> None:
        """Trains from wherever the last run stopped; prints the mean loss of every hundred steps."""
        start = self._restore(place.load(self.name))
        mean, clock = 0.0, time.perf_counter()
        for step in range(start, self.steps):
            torch.manual_seed(self.seed + step)
            loss = self.loss_of(step)
            self.descent.step(loss)
            self.after(step)
            mean += float(loss.detach()) / REPORT_EVERY
            if (step + 1) % REPORT_EVERY == 0:
                seconds = time.perf_counter() - clock
                print(f"{self.name} {step + 1} of {self.steps}: loss {mean:.4f}, {seconds:.0f} s", flush=True)
                mean, clock = 0.0, time.perf_counter()
            if step + 1 == self.steps or place.is_due:
                place.save(self.name, self._state(step + 1))

    def _state(self, done: int) -> dict[str, Any]:
        return {
            "step": done,
            "modules": self.modules.state_dict(),
            "more": self.more.state_dict() if self.more is not None else None,
            "optimisers": [optimiser.state_dict() for optimiser in self.descent.optimisers],
            "schedules": [schedule.state_dict() for schedule in self.descent.schedules],
        }

    def _restore(self, state: dict[str, Any] | None) -> int:
        """The number of completed steps."""
        if state is None:
            return 0
        self.modules.load_state_dict(state["modules"])
        if self.more is not None:
            self.more.load_state_dict(state["more"])
        for optimiser, kept in zip(self.descent.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(kept)
        for schedule, kept in zip(self.descent.schedules, state["schedules"], strict=True):
            schedule.load_state_dict(kept)
        return int(state["step"])
