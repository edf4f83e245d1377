"""The folder that `datasets` and most trainers read: `0001.png`, `0001.txt` with one line, and `metadata.jsonl`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from pipeline.records import Row
from pipeline.task import Task


def write(rows: Sequence[Row], task: Task, run: Path, folder: Path) -> list[str]:
    """Fills an empty folder, in the order of the rows; the pictures' file names.

    Pictures are the run's grids byte for byte: RGB PNG, upright, without EXIF. `metadata.jsonl` has the caption as
    `text` and where every panel lies, so that a reader can cut the grid again.
    """
    lines = []
    for number, row in enumerate(rows, start=1):
        stem = f"{number:04d}"
        shutil.copyfile(run / row.grid.path, folder / f"{stem}.png")
        (folder / f"{stem}.txt").write_text(row.caption.text + "\n", encoding="utf-8")
        entry = {
            "file_name": f"{stem}.png",
            "text": row.caption.text,
            "id": row.id,
            "task": task.name,
            "boxes": [list(box) for box in row.grid.layout.boxes],
            "panels": list(row.caption.panels),
            "sources": [record.source for record in row.grid.group.records],
        }
        lines.append(json.dumps(entry, ensure_ascii=False))
    (folder / "metadata.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return [f"{number:04d}.png" for number in range(1, len(rows) + 1)]
