"""One training: what is to be learnt from what, by which model, and where it goes. Nothing here loads a weight."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline import discover
from pipeline.cache import Cache
from pipeline.errors import BadInput
from pipeline.records import Layout, TrainingSample
from pipeline.task import Task
from training import backends, dataset, draws
from training.backends.base import Backend
from training.config import Config, scaled
from training.dataset import Data, View


@dataclass(frozen=True)
class Job:
    task: Task
    config: Config
    data: Data
    backend: Backend
    folder: Path
    """Where checkpoint, logs, samples and the LoRA go."""
    cache: Cache

    @cached_property
    def layouts(self) -> dict[float, Layout]:
        """The canvas at every scale."""
        config = self.config
        return {scale: scaled(self.task.grid_layout, scale, config.smallest_panel) for scale in config.scales}

    @cached_property
    def shown(self) -> Layout:
        """The canvas on which held-out grids are measured and samples drawn: the largest."""
        return self.layouts[max(self.layouts)]

    @cached_property
    def condition(self) -> tuple[int, ...]:
        """Panels that the task gives, from 0."""
        return tuple(panel - 1 for panel in self.task.condition)

    @cached_property
    def prompted(self) -> tuple[TrainingSample, ...]:
        """The grids whose captions the samples are drawn from: held-out ones, where there are any."""
        return (self.data.held_out or self.data.train)[: self.config.samples]

    def views(self) -> Iterator[View]:
        """Everything that the model will see of the data, every grid at every size and in every order."""
        panels = self.task.grid_layout.size
        for layout in self.layouts.values():
            for sample in self.data.train:
                yield dataset.plain(sample, layout)
                if self.config.permute:
                    yield from (View(sample, layout, order) for order in draws.orders(panels)[1:])
        for sample in self.data.held_out:
            yield dataset.plain(sample, self.shown)

    def texts(self) -> list[str]:
        """Every caption that the model will read, each once, and the empty one that stands in for dropped ones."""
        return list(dict.fromkeys(["", *(dataset.caption(view, self.task) for view in self.views())]))

    def check_lengths(self) -> None:
        """Refuses captions that would be cut, unless that is wanted.

        Raises:
            BadInput: naming them.
        """
        if self.config.truncate:
            return
        samples = [*self.data.train, *self.data.held_out]
        counts = self.backend.count_tokens([sample.text for sample in samples])
        dataset.check_lengths(samples, counts, self.backend.text_limit)


def find_backend(base: str, model: str, revision: str | None) -> Backend:
    """The back end of a task's base.

    Raises:
        BadInput: none trains it.
    """
    known = {}
    for name in discover.names(backends):
        module = discover.load(backends, name)
        made: Backend = module.make(model, revision)
        known[made.BASE] = made
    if base not in known:
        raise BadInput(
            f"base={base} can't be trained here yet (there are {', '.join(sorted(known))}); the data set's TRAINERS.md "
            "names trainers that can."
        )
    return known[base]
