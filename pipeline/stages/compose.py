"""Group + Layout -> Grid: every panel is resized by itself, then pasted onto the canvas, which is never resized."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from PIL import Image

from pipeline import files, pixels
from pipeline.captioning.jpegs import Ready
from pipeline.engines.base import Alone, Stage
from pipeline.errors import BadInput
from pipeline.pixels import png
from pipeline.records import Box, Grid, Group, Layout, Rejected, content_id
from pipeline.task import Task

KEEP = 2
"""JPEGs are decoded at no less than this many times the panel's longer side: 50 dB from a full decode, an invisible
difference. Decoded at the side itself, they would be at 34 dB and lose a quarter of the finest detail."""


@dataclass(frozen=True)
class Parameters:
    """What a grid's picture depends on besides the pictures of its group."""

    layout: Layout
    fit: str
    """As `pixels.fitted` has it."""
    folder: Path
    """The run's folder."""
    ready: Ready | None = None
    """Keeps panels for the captioner; no grid depends on it."""


def stage(task: Task, folder: Path, workers: int, drawn: Sequence[Grid], ready: Ready | None = None) -> Stage[Group]:
    """The compose stage.

    Args:
        drawn: grids of an earlier run; if the picture of one is gone, the stage is not done.
        ready: keeps panels for a captioner that sends them.
    """
    run = partial(compose, parameters=Parameters(task.grid_layout, task.layout.fit, folder, ready))
    config = {"layout": task.layout.model_dump()}
    return Stage(
        "compose",
        "grids",
        run,
        config,
        alone=Alone(_seen, partial(_holds, folder=folder)),
        batch=4,
        workers=workers,
        intact=lambda: all((folder / grid.path).is_file() for grid in drawn),
    )


def _seen(group: Group) -> str:
    return repr((group.id, group.formed, [(record.path, record.focus) for record in group.records]))


def _holds(_: Group, made: Sequence[Grid | Rejected], *, folder: Path) -> bool:
    """Whether a group has its grid; what can't be read is tried again."""
    return all(isinstance(one, Grid) and (folder / one.path).is_file() for one in made)


def compose(groups: Sequence[Group], *, parameters: Parameters) -> Iterator[Grid | Rejected]:
    """Draws one grid per group; a group is rejected if one of its pictures can't be read."""
    layout, fit = parameters.layout, parameters.fit
    for group in groups:
        grid_id = content_id("g", group.id, asdict(layout), fit)
        grid = Grid(grid_id, group, layout, str(Path("grids") / f"{grid_id}.png"))
        try:
            picture = write(grid, fit, parameters.folder)
        except BadInput as error:
            yield Rejected(group.id, group.formed, "unreadable", str(error))
        else:
            grid = replace(grid, pixels=hashlib.sha256(picture.tobytes()).hexdigest())
            if parameters.ready:
                parameters.ready.keep(grid, picture)
            yield grid


def write(grid: Grid, fit: str, folder: Path) -> Image.Image:
    """Draws a grid's picture into the run's folder.

    Raises:
        BadInput: a picture of its group can't be read.
    """
    records = grid.group.records
    paths, focus = [folder / each.path for each in records], [each.focus for each in records]
    picture = draw(paths, grid.layout, fit, focus, grid.crops)
    file = folder / grid.path
    file.parent.mkdir(parents=True, exist_ok=True)
    files.write(file, png.encode(picture))
    return picture


def redraw(grid: Grid, fit: str, folder: Path) -> None:
    """Draws an earlier grid's picture again, if its sources are still the ones that it was made of.

    Raises:
        BadInput: a picture of its group can't be read, or is another one by now.
    """
    for record in grid.group.records:
        try:
            content = files.digest(folder / record.path)
        except OSError as error:
            raise BadInput(f"{record.source} can't be read ({error.strerror}).") from error
        if content != record.id:
            raise BadInput(f"{record.source} has changed since it was collected.")
    write(grid, fit, folder)


def draw(
    paths: Sequence[Path],
    layout: Layout,
    fit: str,
    focus: Sequence[float] = (),
    crops: Sequence[Box | None] = (),
) -> Image.Image:
    """The grid of these pictures, in reading order.

    Args:
        fit: as `pixels.fitted` has it.
        focus: of each picture, as `pixels.fitted` has it; their centres if there is none.
        crops: the part of each picture that is drawn, where it is not for `fit` and `focus` to say.

    Raises:
        BadInput: a picture can't be read.
    """
    canvas = Image.new("RGB", layout.canvas, pixels.BAR)
    size = (layout.panel_width, layout.panel_height)
    none = [None] * len(paths)
    parts = zip(paths, layout.boxes, focus or [pixels.CENTRE] * len(paths), crops or none, strict=True)
    for path, box, each, crop in parts:
        shown = min(crop[2] - crop[0], crop[3] - crop[1]) if crop else 1.0
        image = pixels.open_image(path, least_side=math.ceil(KEEP * max(size) / shown))
        panel = pixels.boxed(image, size, crop) if crop else pixels.fitted(image, size, fit, each)
        canvas.paste(panel, box[:2])
    return canvas
