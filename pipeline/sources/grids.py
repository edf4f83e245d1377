"""Ready-made grids with a joint caption beside them, cut back into panels. The caption stays word for word."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline import pixels
from pipeline.errors import BadInput
from pipeline.records import Position, Record, Rejected, content_id
from pipeline.sources.base import IMAGE_SUFFIXES, listed, own_text
from pipeline.task import Task
from pipeline.text import grammar

PRIORITY = 1
SEARCH = 0.006
"""Seams are looked for this part of the canvas around the ideal line: published grids are off by up to 5 of 1620 px."""
LEAST_PANEL = 16
"""px; a grid with smaller panels is none."""


def claims(path: Path, task: Task) -> bool:
    """A picture whose own text is a joint caption and whose shape is nearer to the whole canvas than to one panel.

    Where its listing has boxes of panels, they tell. Where rows and columns are as many, canvas and panel have one
    shape; then a caption that only this picture has makes it a grid, and one that others have too makes it a panel.
    """
    if path.suffix.lower() not in IMAGE_SUFFIXES or not grammar.is_joint(text := own_text(path), task):
        return False
    layout = task.grid_layout
    if boxes := listed(path).boxes:
        return len(boxes) == layout.size
    if layout.rows == layout.cols:
        return not _has_twin(path, text)
    try:
        width, height = pixels.upright_size(path)
    except BadInput:
        return True  # `read` rejects it with the reason
    shape = math.log(width / height)
    canvas = abs(shape - math.log(layout.canvas[0] / layout.canvas[1]))
    panel = abs(shape - math.log(layout.panel_width / layout.panel_height))
    return canvas <= panel


def _has_twin(path: Path, text: str) -> bool:
    """Whether another text in its folder says the same; where it has no file for its text, another in the listing."""
    beside = path.with_suffix(".txt")
    if not beside.is_file():
        others = (other for other in path.parent.iterdir() if other.suffix.lower() in IMAGE_SUFFIXES)
        return any(other != path and listed(other).text == text for other in others)
    size, content = beside.stat().st_size, beside.read_bytes()
    files = (other for other in path.parent.glob("*.txt") if other != beside and other.stat().st_size == size)
    return any(other.read_bytes() == content for other in files)


def read(path: Path, task: Task, folder: Path) -> Iterator[Record | Rejected]:
    """One record a panel; they share the caption and the name of the set."""
    try:
        grid = pixels.open_image(path)
    except BadInput as error:
        yield Rejected(str(path), str(path), "unreadable", str(error))
        return
    known = listed(path)
    boxes = list(known.boxes) or panel_boxes(grid, task)
    if any(min(left, top) < 0 or right > grid.width or bottom > grid.height for left, top, right, bottom in boxes):
        detail = f"The listing of {path} has boxes outside of its {grid.width} x {grid.height} pixels."
        yield Rejected(str(path), str(path), "boxes", detail)
        return
    if any(right - left < LEAST_PANEL or bottom - top < LEAST_PANEL for left, top, right, bottom in boxes):
        detail = f"{path} has {grid.width} x {grid.height} pixels, too few for {len(boxes)} panels."
        yield Rejected(str(path), str(path), "too small", detail)
        return
    text = own_text(path)
    name = content_id("g", str(path), text)
    for page, box in enumerate(boxes):
        buffer = io.BytesIO()
        grid.crop(box).save(buffer, "PNG", compress_level=1)
        panel = Path("collected") / name / f"panel-{page + 1}.png"
        (folder / panel).parent.mkdir(parents=True, exist_ok=True)
        (folder / panel).write_bytes(buffer.getvalue())
        yield Record(
            id=hashlib.sha256(buffer.getvalue()).hexdigest(),
            path=str(panel),
            source=str(path),
            position=Position(
                str(path.parent), path.stem, set=f"{path.parent.name}/{path.name}", page=page, group=known.group
            ),
            text=text,
            licence=known.fact("licence", page),
            author=known.fact("author", page),
            url=known.fact("url", page),
        )


def panel_boxes(grid: Image.Image, task: Task) -> list[tuple[int, int, int, int]]:
    """Left, top, right, bottom of every panel in reading order, each seam moved to the sharpest line near its place."""
    layout = task.grid_layout
    if grid.size == layout.canvas:
        return list(layout.boxes)
    grey = np.asarray(grid.convert("L"), dtype=np.float32)
    ys = _seams(np.abs(np.diff(grey, axis=0)).mean(axis=1), layout.rows)
    xs = _seams(np.abs(np.diff(grey, axis=1)).mean(axis=0), layout.cols)
    return [(xs[col], ys[row], xs[col + 1], ys[row + 1]) for row in range(layout.rows) for col in range(layout.cols)]


def _seams(steps: np.ndarray, parts: int) -> list[int]:
    """Borders of `parts` equal parts; `steps[i]` is the mean difference between the lines i and i + 1."""
    length = len(steps) + 1
    reach = max(1, round(SEARCH * length))
    seams = [0]
    for part in range(1, parts):
        ideal = round(part * length / parts)
        near = steps[max(0, ideal - 1 - reach) : ideal + reach]
        # A seam stands out from its surroundings; where nothing does (a gutter, two like panels) the ideal line holds.
        clear = len(near) > 2 * reach and near.max() > 3 * float(np.median(near))
        seams.append(ideal - reach + int(near.argmax()) if clear else ideal)
    return [*seams, length]
