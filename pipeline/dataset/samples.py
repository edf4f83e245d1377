"""A data set and its samples, as seen by exporters and the card."""

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
"""Folders of the masks, one per side: kohya refuses a mask whose picture it does not train on."""


@dataclass(frozen=True)
class Sample:
    """One grid with its caption and its place in the data set."""

    row: Row
    stem: str
    """Name of its files without suffix, unique across both sides."""
    side: str
    group: str
    """Its group of sources, as the split names it."""

    @property
    def file(self) -> str:
        """The picture's path, relative to the data set's folder."""
        return f"{self.side}/{self.stem}.png"

    @property
    def mask(self) -> str:
        """The mask's path, relative to the data set's folder."""
        return f"{MASKS[self.side]}/{self.stem}.png"

    @property
    def text(self) -> str:
        """The caption on one line."""
        return fold(self.row.caption.text)


@dataclass(frozen=True)
class Dataset:
    """A data set before it is written."""

    task: Task
    run: Path
    """The run's folder, which the grids' paths are relative to."""
    home: Path
    """The finished data set's folder, absolute."""
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
        """Width and height of every grid, in pixels."""
        return self.task.grid_layout.canvas

    @cached_property
    def names(self) -> Mapping[str, str]:
        """Paths of the sources relative to their common folder, by full path; the rest of a path is private."""
        paths = sorted({record.source for sample in self.samples for record in sample.row.grid.group.records})
        common = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
        return {path: Path(os.path.relpath(path, common)).as_posix() for path in paths}


@dataclass(frozen=True)
class Config:
    """What an exporter wrote for its trainer."""

    trainer: str
    """The trainer's display name."""
    files: tuple[str, ...]
    """Relative to the data set's folder."""
    command: str = ""
    """The command that trains; empty if there is no trainer or it does not support the task's base."""
    notes: tuple[str, ...] = ()
    """Notes on this trainer with these grids, one sentence each."""


def gather(rows: Sequence[Row], task: Task, run: Path, split: Split) -> Dataset:
    """The data set of these rows, numbered in their order across both sides."""
    samples = tuple(
        Sample(row, f"{number:04d}", split.side(row.id), split.groups[row.id])
        for number, row in enumerate(rows, start=1)
    )
    return Dataset(task, run, (run / "dataset").resolve(), samples, split)
