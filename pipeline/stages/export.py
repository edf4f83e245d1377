"""Kept Rows -> data set folder. The old folder stays until the new one is whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.engine import Stage
from pipeline.records import Exported, Rejected, Row
from pipeline.task import Task


def stage(task: Task, name: str, exporter: Any, run: Path) -> Stage[Row]:
    """The export stage.

    Args:
        name: name of the exporter.
        exporter: its module, which has `write(rows, task, run, folder) -> list of file names`.
    """

    def export(rows: Sequence[Row]) -> Iterator[Exported | Rejected]:
        kept = [row for row in rows if row.decision == "keep"]
        files = write(kept, task, exporter, run)
        yield from (Exported(row.id, file) for row, file in zip(kept, files, strict=True))
        yield from (_left_out(row) for row in rows if row.decision != "keep")

    config = {"exporter": name, "task": task.name}
    return Stage("export", "exported", export, config, intact=(run / "dataset").is_dir)


def write(rows: Sequence[Row], task: Task, exporter: Any, run: Path) -> list[str]:
    """Writes the rows to `dataset/` and returns their files' names. A kill leaves the old folder or the new one."""
    folder, part, old = run / "dataset", run / "dataset.part", run / "dataset.old"
    for leftover in (part, old):
        shutil.rmtree(leftover, ignore_errors=True)
    part.mkdir()
    files: list[str] = exporter.write(rows, task, run, part)
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    return files


def _left_out(row: Row) -> Rejected:
    if row.review and row.decided:
        reason = "dropped in review" if row.decision == "drop" else "unsure in review"
        return Rejected(row.id, row.grid.path, reason, f"{row.id} is marked {row.decision}. {row.review.note}".strip())
    return Rejected(row.id, row.grid.path, "caption problems", f"{row.id}: {'; '.join(row.caption.problems)}.")
