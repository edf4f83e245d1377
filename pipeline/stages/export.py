"""Kept Rows -> data set folder: data, trainers' configs, card. The old folder stays until the new one is complete."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline import plugins
from pipeline.dataset import card, samples, split
from pipeline.dataset.samples import Dataset
from pipeline.engines.base import Stage
from pipeline.exporters.base import Exporter
from pipeline.plugins import Plugin
from pipeline.records import Exported, Rejected, Row
from pipeline.task import Task
from pipeline.text.counters import TokenCounter

DATA = "imagefolder"
"""The exporter that writes the data; the others write next to it."""


@dataclass(frozen=True)
class Parameters:
    """What a data set folder depends on besides its rows."""

    task: Task
    folder: Path
    """The run's folder."""
    facts: Mapping[str, Any]
    """What the card says of the models and thresholds that the rows went through."""


def stage(task: Task, run: Path, facts: Mapping[str, Any], counter: TokenCounter) -> Stage[Row]:
    """The export stage.

    Args:
        facts: what the card says of the models and thresholds that the rows went through.
        counter: what decided which edited captions are too long.
    """
    config = {
        "exporters": [plugin.identity for plugin in chosen(task)],
        "task": task.model_dump(mode="json"),
        "home": str(run.resolve()),
        "facts": facts,
        "counter": counter.identity,
    }
    work = partial(export, parameters=Parameters(task, run, facts))
    return Stage("export", "exported", work, config, intact=(run / "dataset").is_dir, facts=_sides)


def export(rows: Sequence[Row], *, parameters: Parameters) -> Iterator[Exported | Rejected]:
    """Writes the data set folder of the rows that are kept; the others are rejected with the reason."""
    kept = [row for row in rows if _is_kept(row)]
    data = write(kept, parameters.task, parameters.folder, parameters.facts)
    yield from (Exported(sample.row.id, sample.file) for sample in data.samples)
    yield from (_left_out(row) for row in rows if not _is_kept(row))


def _sides(exported: Sequence[Exported]) -> dict[str, Any]:
    """How many grids are on each side of the split."""
    counts = Counter(Path(one.file).parent.name for one in exported)
    return {side: counts[side] for side in (split.TRAIN, split.HELD_OUT)}


def chosen(task: Task) -> list[Plugin]:
    """The exporters, that of the data first.

    Raises:
        BadInput: the task names one that does not exist or is broken.
    """
    if task.export.formats is None:
        found = [plugin for plugin, _ in plugins.usable(plugins.EXPORTERS)]
        return sorted(found, key=lambda plugin: plugin.name != DATA)
    found = [plugins.find(plugins.EXPORTERS, name) for name in dict.fromkeys((DATA, *task.export.formats))]
    for plugin in found:
        plugin.load()
    return found


def write(rows: Sequence[Row], task: Task, run: Path, facts: Mapping[str, Any]) -> Dataset:
    """Writes the rows to `dataset/`. If killed, it leaves either the old folder or the new one.

    Raises:
        BadInput: what was written trains on something that it holds out.
    """
    folder, part, old = run / "dataset", run / "dataset.part", run / "dataset.old"
    for leftover in (part, old):
        shutil.rmtree(leftover, ignore_errors=True)
    part.mkdir()
    data = samples.gather(rows, task, run, split.divide(rows, task))
    exporters: list[Exporter] = [plugin.load() for plugin in chosen(task)]
    configs = [exporter.write(data, part) for exporter in exporters]
    (part / "README.md").write_text(card.write(data, facts), encoding="utf-8")
    (part / "TRAINERS.md").write_text(card.write_trainers(configs), encoding="utf-8")
    split.check(part)
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    return data


def _is_kept(row: Row) -> bool:
    """An empty caption teaches nothing and some trainers fail on it, whatever was decided."""
    return row.decision == "keep" and bool(row.caption.text.strip())


def _left_out(row: Row) -> Rejected:
    if row.decision == "keep":
        return Rejected(row.id, row.grid.path, "no caption", f"{row.id} is marked keep and has no caption.")
    if row.review and row.decided:
        reason = "dropped in review" if row.decision == "drop" else "unsure in review"
        return Rejected(row.id, row.grid.path, reason, f"{row.id} is marked {row.decision}. {row.review.note}".strip())
    return Rejected(row.id, row.grid.path, "caption problems", f"{row.id}: {'; '.join(row.caption.problems)}.")
