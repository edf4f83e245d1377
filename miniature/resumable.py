"""A training that may be ended at any moment: what a step does hangs on its number alone, the rest is on disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from miniature.descent import Descent

SAVE_EVERY = 120.0  # seconds
TOLD = 100  # steps whose mean loss is printed


@dataclass
class Place:
    """Where the training stands: kept on disk, written whole or not at all."""

    folder: Path
    last: float = 0.0

    def load(self, name: str) -> dict[str, Any] | None:
        file = self.folder / f"{name}.pt"
        return torch.load(file, weights_only=False) if file.exists() else None

    @property
    def is_due(self) -> bool:
        """Whether so much time has gone by that the state is worth writing."""
        return time.monotonic() - self.last >= SAVE_EVERY

    def save(self, name: str, state: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f"{name}.part"
        torch.save(state, part)
        part.replace(self.folder / f"{name}.pt")
        self.last = time.monotonic()


@dataclass
class Course:
    """One stage of a training: what goes down, how far, and what else must be kept to go on.

    Args:
        modules: what is trained.
        more: a module that goes along (averaged weights); `after` is called with every step that was taken.
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
        """Steps from wherever the last run stopped; prints the mean loss of every hundred."""
        start = self._restore(place.load(self.name))
        mean, clock = 0.0, time.perf_counter()
        for step in range(start, self.steps):
            torch.manual_seed(self.seed + step)
            loss = self.loss_of(step)
            self.descent.step(loss)
            self.after(step)
            mean += float(loss.detach()) / TOLD
            if (step + 1) % TOLD == 0:
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
        """The number of steps that are done."""
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
