"""One training: what is to be learnt from what, by which model, and where it goes. Nothing here loads a weight."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline import families, plugins
from pipeline.cache import Cache, key_of
from pipeline.errors import BadInput, MissingWeights
from pipeline.records import Layout, TrainingSample
from pipeline.task import Task
from training import backends, dataset, random_streams
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
        layout, smallest, token = self.task.grid_layout, self.config.smallest_panel, families.load(self.task.base).token
        return {scale: scaled(layout, scale, smallest, token) for scale in self.config.scales}

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

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """Everything that the LoRA and its held-out loss hang on, plain values by name: a training goes on only where
        all of it is the same. What has a path or a name counts by its content, wherever it lies.

        Raises:
            MissingWeights: a part of the model is not there.
        """
        layouts = self.layouts.values()
        parts = ("transformer", "vae", "scheduler", *self.backend.text_parts)
        return self.config.recipe | {
            "data set": self.data.digest,
            "held-out set": key_of(grids=sorted(sample.id for sample in self.data.held_out))[:16],
            "condition": list(self.task.condition),
            "layouts": [f"{one.rows} x {one.cols} panels of {one.panel_width} x {one.panel_height}" for one in layouts],
            "init": _content(self.config.init) if self.config.init else None,
            **{part: self.backend.identity(part) for part in parts},
        }

    def views(self) -> Iterator[View]:
        """Everything that the model will see of the data, every grid at every size and in every order."""
        panels = self.task.grid_layout.size
        for layout in self.layouts.values():
            for sample in self.data.train:
                yield dataset.plain(sample, layout)
                if self.config.permute:
                    yield from (View(sample, layout, order) for order in random_streams.other_orders(panels))
        for sample in self.data.held_out:
            yield dataset.plain(sample, self.shown)

    def texts(self) -> list[str]:
        """Every caption that the model will read, each once, and the empty one that stands in for dropped ones."""
        return list(dict.fromkeys(["", *(dataset.caption(view, self.task) for view in self.views())]))

    @property
    def samples(self) -> tuple[TrainingSample, ...]:
        """The grids that are trained on, and behind them the held-out ones."""
        return (*self.data.train, *self.data.held_out)

    def count_tokens(self, texts: Sequence[str]) -> list[int] | None:
        """Tokens of every text; None where the tokenizer is not on this machine."""
        try:
            return self.backend.count_tokens(texts)
        except MissingWeights:
            return None

    def check_lengths(self) -> None:
        """Refuses captions that would be cut, unless that is wanted.

        Raises:
            BadInput: naming them.
        """
        if self.config.truncate:
            return
        counts = self.backend.count_tokens([sample.text for sample in self.samples])
        dataset.check_lengths(self.samples, counts, self.backend.text_limit)


def _content(init: str) -> str:
    """Hash of the file to start from; one that is not there is told of where it is put on the model."""
    try:
        with Path(init).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError:
        return f"{init}, which can't be read"


def find_backend(base: str, model: str | None, revision: str | None) -> Backend:
    """The back end of a task's base; no model: the one that it is usually trained on.

    Raises:
        BadInput: none trains it.
    """
    known = {}
    for name in plugins.names(backends):
        module = plugins.load(backends, name)
        made: Backend = module.make(model, revision)
        known[made.BASE] = made
    if base not in known:
        raise BadInput(
            f"base={base} can't be trained here yet (there are {', '.join(sorted(known))}); the data set's TRAINERS.md "
            "names trainers that can."
        )
    return known[base]
