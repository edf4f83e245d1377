"""The data itself, in the format that `datasets` and most trainers read.

    train/0001.png, train/0001.txt      a grid, and its caption: one line without a line break
    train/metadata.jsonl                captions, panel boxes and sources of every grid
    validation/...                      the same for the grids held out
    masks/0001.png                      for a task with given panels: white where the loss counts, black on those
    control_1/0001.png                  for a use with reference images: the first one of every picture
    control_1-held-out/...              the same for the grids held out

With `export.use = "panels"` a picture is one panel: `0001-2.png` is the second of a grid. A line break in a caption
would add an empty one for trainers that pick one of several lines at random.
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
from pipeline.records import Layout, Record


def write(data: Dataset, folder: Path) -> Config:
    """Fills an empty folder. Pictures are the run's grids byte for byte, or panels cut out of them: RGB PNG, upright,
    without EXIF.

    A side without pictures has no folder.
    """
    panels: dict[tuple[str, int], Path] = {}
    for side in data.sides:
        samples = [sample for sample in data.samples if sample.side == side]
        (folder / side).mkdir()
        for sample in samples:
            _place(sample, data, folder, panels)
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


def _place(sample: Sample, data: Dataset, folder: Path, panels: dict[tuple[str, int], Path]) -> None:
    """Writes a sample's picture and its reference images.

    Args:
        panels: where in the folder panels are already, by grid and place; every one is cut out once.
    """
    grid = sample.row.grid
    wanted = list(zip(sample.target.references, sample.references, strict=True))
    if sample.target.panel is None:
        # A picture is shared with the run only if the run can tell whether it was altered.
        share = files.share if grid.pixels else shutil.copyfile
        share(data.run / grid.path, folder / sample.file)
    else:
        wanted.append((sample.target.panel, sample.file))
    for panel, file in wanted:
        (folder / file).parent.mkdir(exist_ok=True)
        if (grid.id, panel) in panels:
            files.share(panels[grid.id, panel], folder / file)
        else:
            with Image.open(data.run / grid.path) as image:
                image.crop(grid.layout.boxes[panel]).save(folder / file)
            panels[grid.id, panel] = folder / file


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
    """What is known of a sample; the boxes let a reader cut a grid into its panels again. Panels are counted from 1."""
    row, target = sample.row, sample.target
    sources = [row.grid.group.records[panel] for panel in sample.panels]
    entry: dict[str, Any] = {
        "file_name": f"{sample.stem}.png",
        "text": sample.text,
        "id": row.id,
        "task": data.task.name,
        "group": sample.group,
    }
    if target.panel is None:
        entry |= {"boxes": [list(box) for box in row.grid.layout.boxes], "panels": list(row.caption.panels)}
    else:
        entry |= {"panel": target.panel + 1}
    if target.references:
        entry |= {"references": [f"../{file}" for file in sample.references]}
        entry |= {"reference_panels": [panel + 1 for panel in target.references]}
    return entry | {"sources": [_source(record, data) for record in sources]}


def _source(record: Record, data: Dataset) -> dict[str, Any]:
    return {
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
