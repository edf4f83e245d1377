"""The data itself, in the format that `datasets` and most trainers read.

    train/0001.png, train/0001.txt      a grid, and its caption: one line without a line break
    train/metadata.jsonl                captions, panel boxes and sources of every grid
    validation/...                      the same for the grids held out
    masks/0001.png                      for a task with given panels: white where the loss counts, black on those

A line break would add an empty caption for trainers that pick one of several lines at random.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline import files
from pipeline.dataset.samples import MASKS, Config, Dataset, Sample
from pipeline.records import Layout


def write(data: Dataset, folder: Path) -> Config:
    """Fills an empty folder. Pictures are the run's grids byte for byte: RGB PNG, upright, without EXIF.

    A side without pictures has no folder.
    """
    for side in data.sides:
        samples = [sample for sample in data.samples if sample.side == side]
        (folder / side).mkdir()
        for sample in samples:
            # A picture is shared with the run only if the run can tell whether it was altered.
            place = files.share if sample.row.grid.pixels else shutil.copyfile
            place(data.run / sample.row.grid.path, folder / sample.file)
            (folder / sample.file).with_suffix(".txt").write_text(sample.text, encoding="utf-8")
        lines = [json.dumps(_entry(sample, data), ensure_ascii=False) for sample in samples]
        (folder / side / "metadata.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        if data.task.condition and samples:
            (folder / MASKS[side]).mkdir()
            mask = io.BytesIO()
            draw_mask(data.task.grid_layout, data.task.condition).save(mask, "PNG")
            for sample in samples:
                (folder / sample.mask).write_bytes(mask.getvalue())
    return Config("datasets", tuple(f"{side}/metadata.jsonl" for side in data.sides))


def draw_mask(layout: Layout, condition: Sequence[int]) -> Image.Image:
    """White where the loss counts, black on the given panels.

    Args:
        condition: the given panels, from 1.
    """
    mask = Image.new("L", layout.canvas, 255)
    for panel in condition:
        mask.paste(0, layout.boxes[panel - 1])
    return mask


def _entry(sample: Sample, data: Dataset) -> dict[str, Any]:
    """What is known of a sample; the boxes let a reader cut the grid into its panels again."""
    row = sample.row
    records = row.grid.group.records
    return {
        "file_name": f"{sample.stem}.png",
        "text": sample.text,
        "id": row.id,
        "task": data.task.name,
        "group": sample.group,
        "boxes": [list(box) for box in row.grid.layout.boxes],
        "panels": list(row.caption.panels),
        "sources": [
            {
                "name": data.names[record.source],
                "sha256": record.id,
                "licence": record.licence,
                "author": record.author,
                "url": record.url,
                "date": record.date,
                "group": record.position.group,
                "panel": record.position.panel,
                "row": record.position.row,
                "film": record.position.film,
                "shot": record.position.shot,
                "time": record.position.time,
            }
            for record in records
        ],
    }
