"""Ready-made grids with a joint caption of their own, cut back into panels. The caption is kept word for word."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline import files, pixels
from pipeline.errors import BadInput
from pipeline.records import Record, Rejected, content_id
from pipeline.sources.base import Item
from pipeline.sources.formats import format_of
from pipeline.task import Task
from pipeline.text import grammar

PRIORITY = 1
SEARCH = 0.006
"""Seams are looked for this part of the canvas around the ideal line: published grids are off by up to 5 of 1620 px."""
LEAST_PANEL = 16
"""px; a picture with smaller panels is not taken for a grid."""


def claims(item: Item, head: bytes, task: Task, folder: Path) -> bool:
    """A picture whose own text is a joint caption and whose shape is nearer to the whole canvas than to one panel.

    Boxes of panels in its listing decide where there are any. A layout of as many rows as columns gives canvas and
    panel one shape; then a caption that only this picture has makes it a grid, one that others have too a panel.
    """
    if format_of(head, item.name).kind != "picture" or not grammar.is_joint(item.text, task):
        return False
    layout = task.grid_layout
    if item.facts.boxes:
        return len(item.facts.boxes) == layout.size
    if layout.rows == layout.cols:
        return not item.twin
    try:
        width, height = pixels.upright_size(folder / item.file(folder, pixels.MOST_BYTES))
    except BadInput:
        return True  # `read` rejects it with the reason
    shape = math.log(width / height)
    canvas = abs(shape - math.log(layout.canvas[0] / layout.canvas[1]))
    panel = abs(shape - math.log(layout.panel_width / layout.panel_height))
    return canvas <= panel


def read(item: Item, task: Task, folder: Path) -> Iterator[Record | Rejected]:
    """One record per panel; they share the caption and the name of the set."""
    path = folder / item.file(folder, pixels.MOST_BYTES)
    try:
        grid = pixels.open_image(path)
    except BadInput as error:  # an extracted copy goes by its hash, which nobody knows
        raise BadInput(str(error).replace(str(path), item.source)) from error
    boxes = list(item.facts.boxes) or panel_boxes(grid, task)
    if any(min(left, top) < 0 or right > grid.width or bottom > grid.height for left, top, right, bottom in boxes):
        detail = f"The listing of {item.source} has boxes outside of its {grid.width} x {grid.height} pixels."
        yield item.reject("boxes", detail)
        return
    if any(right - left < LEAST_PANEL or bottom - top < LEAST_PANEL for left, top, right, bottom in boxes):
        detail = f"{item.source} has {grid.width} x {grid.height} pixels, too few for {len(boxes)} panels."
        yield item.reject("too small", detail)
        return
    home = Path("collected") / content_id("g", item.source, item.text)
    (folder / home).mkdir(parents=True, exist_ok=True)
    of_set = "/".join(item.source.rsplit("/", 2)[-2:])
    for page, box in enumerate(boxes):
        buffer = io.BytesIO()
        grid.crop(box).save(buffer, "PNG", compress_level=1)
        panel = home / f"panel-{page + 1}.png"
        files.anew(folder / panel).write_bytes(buffer.getvalue())
        digest, position = hashlib.sha256(buffer.getvalue()).hexdigest(), item.position(set=of_set, page=page)
        yield item.record(digest, panel, position, text=item.text, page=page)


def panel_boxes(grid: Image.Image, task: Task) -> list[tuple[int, int, int, int]]:
    """Left, top, right, bottom of every panel in reading order, each seam moved to the sharpest line near its place."""
    layout = task.grid_layout
    if grid.size == layout.canvas:
        return list(layout.boxes)
    grey = np.asarray(grid.convert("L"))
    ys = _seams(_differences(grey[1:], grey[:-1]).mean(axis=1), layout.rows)
    xs = _seams(_differences(grey[:, 1:], grey[:, :-1]).mean(axis=0), layout.cols)
    return [(xs[col], ys[row], xs[col + 1], ys[row + 1]) for row in range(layout.rows) for col in range(layout.cols)]


def _differences(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Absolute differences in 8 bits, since those of a large grid in 32 would fill gigabytes."""
    found: np.ndarray = np.maximum(one, other) - np.minimum(one, other)
    return found


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
