"""What a data set is made of, as the exporters and its card see it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline.dataset.split import HELD_OUT, TRAIN, Split
from pipeline.records import Row
from pipeline.task import Task
from pipeline.text.grammar import fold

MASKS = {TRAIN: "masks", HELD_OUT: "masks-held-out"}
"""Folders of the masks; apart, since kohya refuses a mask whose picture it does not train on."""


@dataclass(frozen=True)
class Sample:
    """One grid with its caption, and the place that it takes in the data set."""

    row: Row
    stem: str
    """Its files' name; no other sample of either side has it."""
    side: str
    group: str
    """The group of sources that it comes from."""

    @property
    def file(self) -> str:
        """The picture, relative to the data set's folder."""
        return f"{self.side}/{self.stem}.png"

    @property
    def mask(self) -> str:
        return f"{MASKS[self.side]}/{self.stem}.png"

    @property
    def text(self) -> str:
        """The caption on its one line."""
        return fold(self.row.caption.text)


@dataclass(frozen=True)
class Dataset:
    """A whole data set."""

    task: Task
    run: Path
    """The run's folder, which the grids' paths start from."""
    home: Path
    """Where the data set lies when it is done: configs name it, since trainers are started from elsewhere."""
    samples: tuple[Sample, ...]
    split: Split

    @property
    def train(self) -> tuple[Sample, ...]:
        return tuple(sample for sample in self.samples if sample.side == TRAIN)

    @property
    def held_out(self) -> tuple[Sample, ...]:
        return tuple(sample for sample in self.samples if sample.side == HELD_OUT)

    @property
    def sides(self) -> tuple[str, ...]:
        """The sides that have samples."""
        return tuple(side for side in (TRAIN, HELD_OUT) if any(sample.side == side for sample in self.samples))

    @property
    def canvas(self) -> tuple[int, int]:
        """Width and height of every grid."""
        return self.task.grid_layout.canvas

    @cached_property
    def names(self) -> Mapping[str, str]:
        """Sources by their paths from the folder that holds them all: the rest of a path is the user's own business."""
        paths = sorted({record.source for sample in self.samples for record in sample.row.grid.group.records})
        common = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
        return {path: Path(os.path.relpath(path, common)).as_posix() for path in paths}


@dataclass(frozen=True)
class Config:
    """What an exporter wrote for its trainer."""

    trainer: str
    """The trainer's name, for a person."""
    files: tuple[str, ...]
    """Relative to the data set's folder."""
    command: str = ""
    """What to type to train; empty where the exporter has no trainer or the trainer not the task's base."""
    notes: tuple[str, ...] = ()
    """What a user should know of this trainer and these grids, one sentence each."""


def gather(rows: Sequence[Row], task: Task, run: Path, split: Split) -> Dataset:
    """The rows in their order, numbered through both sides."""
    samples = tuple(
        Sample(row, f"{number:04d}", split.side(row.id), split.groups[row.id])
        for number, row in enumerate(rows, start=1)
    )
    return Dataset(task, run, (run / "dataset").resolve(), samples, split)
