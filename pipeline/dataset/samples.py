"""A data set and its samples, as seen by exporters and the card."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline.dataset import uses
from pipeline.dataset.split import HELD_OUT, TRAIN, Split
from pipeline.dataset.uses import PANELS, Target
from pipeline.records import Record, Row
from pipeline.task import Task

MASKS = {TRAIN: "masks", HELD_OUT: "masks-held-out"}
"""Folders of the masks, one per side: kohya refuses a mask whose picture it does not train on."""


def references_folder(side: str, number: int) -> str:
    """The folder of reference images, one per side and place. It can't be inside of the pictures' folder: some trainers
    look for pictures in all folders below.

    Args:
        number: from 1, in the order in which the model is shown them.
    """
    return f"control_{number}" if side == TRAIN else f"control_{number}-held-out"


@dataclass(frozen=True)
class Sample:
    """A grid, or one of its panels, with its caption and its place in the data set."""

    row: Row
    stem: str
    """Name of its files without suffix, unique across both sides."""
    side: str
    group: str
    """Its group of sources, as the split names it."""
    target: Target
    """What of the grid it shows."""

    @property
    def file(self) -> str:
        """The picture's path, relative to the data set's folder."""
        return f"{self.side}/{self.stem}.png"

    @property
    def mask(self) -> str:
        """The mask's path, relative to the data set's folder."""
        return f"{MASKS[self.side]}/{self.stem}.png"

    @property
    def references(self) -> tuple[str, ...]:
        """Paths of the reference images, in the order in which the model is shown them, relative to the data set's
        folder: as many pictures of its own name in as many folders."""
        folders = (references_folder(self.side, number) for number, _ in enumerate(self.target.references, 1))
        return tuple(f"{folder}/{self.stem}.png" for folder in folders)

    @property
    def text(self) -> str:
        """The caption on one line."""
        return self.target.text

    @property
    def panels(self) -> tuple[int, ...]:
        """The panels, from 0, that it shows or refers to: all of a grid, else its own and then its references."""
        if self.target.panel is None:
            return tuple(range(len(self.row.grid.group.records)))
        return (self.target.panel, *self.target.references)


@dataclass(frozen=True)
class Dataset:
    """A data set before it is written."""

    task: Task
    """As a training on the data set has it (`uses.as_trained`)."""
    run: Path
    """The run's folder, which the grids' paths are relative to."""
    home: Path
    """The finished data set's folder, absolute."""
    samples: tuple[Sample, ...]
    split: Split
    how: str = ""
    """How reference images were chosen, a sentence for a person; empty without them."""

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
        """Width and height of every picture that is learnt, in pixels."""
        return self.task.grid_layout.canvas

    @property
    def noun(self) -> str:
        """What a sample is."""
        return "panel" if self.task.export.use == PANELS else "grid"

    @property
    def references(self) -> int:
        """Reference images that every sample has; some may have more."""
        return min((len(sample.references) for sample in self.samples), default=0)

    @property
    def most_references(self) -> int:
        """The largest number of reference images that a sample has."""
        return max((len(sample.references) for sample in self.samples), default=0)

    @cached_property
    def records(self) -> tuple[tuple[Sample, Record], ...]:
        """Every panel that is seen in the data set, once, with the first sample that it is in."""
        found: dict[tuple[str, int], tuple[Sample, Record]] = {}
        for sample in self.samples:
            for panel in sample.panels:
                found.setdefault((sample.row.id, panel), (sample, sample.row.grid.group.records[panel]))
        return tuple(found.values())

    @cached_property
    def names(self) -> Mapping[str, str]:
        """Paths of the sources relative to their common folder, by full path; the rest of a path is private."""
        paths = sorted({record.source for _, record in self.records})
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


def gather(
    rows: Sequence[Row], task: Task, run: Path, split: Split, targets: Mapping[str, Sequence[Target]] | None = None
) -> Dataset:
    """The data set of these rows, numbered in their order across both sides.

    Args:
        targets: by row, the samples that it gives; all that it can give, if not given.
    """
    if targets is None:
        targets = {row.id: [one for one in uses.targets(row, task) if isinstance(one, Target)] for row in rows}
    samples = tuple(
        Sample(row, _stem(number, target), split.side(row.id), split.groups[row.id], target)
        for number, row in enumerate(rows, start=1)
        for target in targets[row.id]
    )
    how = uses.how(task) if uses.has_references(task) else ""
    return Dataset(uses.as_trained(task), run, (run / "dataset").resolve(), samples, split, how)


def _stem(number: int, target: Target) -> str:
    return f"{number:04d}" if target.panel is None else f"{number:04d}-{target.panel + 1}"
