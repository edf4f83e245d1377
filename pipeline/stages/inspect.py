"""Records -> measured Records: decoding each image once gives size, hash, sharpness, exposure, colours and crop."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pipeline import pixels
from pipeline.duplicates import perceptual
from pipeline.engines.base import Alone, Stage
from pipeline.errors import BadInput
from pipeline.films import blanks
from pipeline.pixels import CENTRE, faces, subject
from pipeline.pixels.colour import IGNORED
from pipeline.pixels.edges import sharpness
from pipeline.pixels.opening import SEVERAL
from pipeline.records import TAKEN_IN, Record, Rejected
from pipeline.review import taking
from pipeline.sources.names import listed
from pipeline.task import LayoutSection, Task
from pipeline.wording import counted

MEASURE_SIDE = 512
"""Pictures are measured at this long side in pixels, so that sharpness is comparable between sizes."""
BINS = (8, 4, 4)
"""Bins of hue, saturation and value."""
BLANK = {"flat": "one even ground", "test card": "a test card"}
"""Kinds of pictures without content, in words; the others are called by their colour."""


@dataclass(frozen=True)
class Parameters:
    """What measuring depends on besides the records."""

    layout: LayoutSection
    """Which pictures fit into a panel."""
    folder: Path
    """The run's folder, which records' paths are relative to."""
    taken: Set[str] = frozenset()
    """Ids of the records that a person takes in, whatever their size, shape and content."""


def stage(task: Task, folder: Path, threads: int, taken: Set[str] = frozenset()) -> Stage[Record]:
    """The inspect stage.

    Args:
        threads: pictures measured at the same time; Pillow and OpenCV release the interpreter's lock.
        taken: as in `Parameters`.
    """
    return Stage(
        name="inspect",
        table="records",
        run=partial(inspect, parameters=Parameters(task.layout, folder, taken)),
        config={
            "layout": task.layout.model_dump(),
            "packages": pixels.installed(),
            "faces": faces.can_be_found(),
        },
        also=taking.config(taken),
        alone=Alone(repr, partial(_holds, taken=taken)),
        batch=32,
        workers=threads,
        facts=lambda records: {"remarks": list(_remarks(records, task))},
    )


def _remarks(records: Sequence[Record], task: Task) -> Iterator[str]:
    """What is said of pictures of which something was left out."""
    several = [record.source for record in records if SEVERAL in record.notes]
    if several and task.pictures.animated == "first":
        has = counted(several, "picture has", "pictures have")
        yield f"{has} several frames or pages, of which the first counts (pictures.animated=frames takes all): " + (
            f"{listed(several)}."
        )
    ignored = [record.source for record in records if any(note.startswith(IGNORED) for note in record.notes)]
    if ignored:
        yield f"{counted(ignored, 'picture has a', 'pictures have a')} colour profile of no use: {listed(ignored)}."
    cropped = any(note.startswith(subject.CROPPED) for record in records for note in record.notes)
    if cropped and not faces.can_be_found():
        yield f"crops keep what stands out, but faces aren't looked for: pip install 'iclora[{faces.EXTRA}]'."


def _holds(record: Record, made: Sequence[Record | Rejected], *, taken: Set[str]) -> bool:
    """Whether measuring a record would come to the same again; what can't be read is tried again."""
    unreadable = any(isinstance(one, Rejected) and one.reason == "unreadable" for one in made)
    return not unreadable and not overruled(record, made, taken)


def overruled(record: Record, made: Sequence[Record | Rejected], taken: Set[str]) -> bool:
    """Whether a person has taken in a record that was rejected, or taken it back.

    Args:
        made: of the record.
        taken: as in `Parameters`.
    """
    (one,) = made
    if isinstance(one, Rejected):
        return one.reason != "unreadable" and taking.is_taken(record, taken)
    used = any(note.startswith(TAKEN_IN) for note in one.notes if note not in record.notes)
    return used and not taking.is_taken(record, taken)


def inspect(batch: Sequence[Record], *, parameters: Parameters) -> Iterator[Record | Rejected]:
    for record in batch:
        taken = taking.is_taken(record, parameters.taken)
        yield measure(record, parameters.folder, parameters.layout, taken=taken)


def measure(record: Record, folder: Path, layout: LayoutSection, *, taken: bool = False) -> Record | Rejected:
    """The record with its measures, or why it can't be used: unreadable, too small, of the wrong shape, or blank.

    Args:
        taken: whether a person takes it in; then it must only be readable, and a note says what speaks against it.
    """
    path = folder / record.path
    what = f"{record.source} ({record.position.stem})" if record.position.film else record.source
    try:
        opened = pixels.open_sized(path, least_side=MEASURE_SIDE)
    except BadInput as error:
        return Rejected(record.id, what, "unreadable", str(error).replace(str(path), what))
    image, (width, height) = opened.image, opened.size
    fault = unfit(width, height, layout)
    if fault and not taken:
        return Rejected(record.id, what, fault[0], f"{what} {fault[1]}")
    image.thumbnail((MEASURE_SIDE, MEASURE_SIDE), Image.Resampling.BOX)
    focus, cut = CENTRE, ""
    if layout.fit == "crop":
        focus, cut = subject.focus_of(image, (width, height), (layout.panel_width, layout.panel_height))
    colours = np.asarray(image)
    kind = blanks.blank(np.asarray(cv2.cvtColor(colours, cv2.COLOR_RGB2BGR), np.uint8))
    if kind and not taken:
        return Rejected(record.id, what, "blank", f"{what} shows nothing: it is {BLANK.get(kind, kind)}.")
    against = [f"{TAKEN_IN} though {reason}" for reason in (fault and fault[0], kind and "blank") if reason]
    phash, *turned = perceptual.hashes(image)
    grey = cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY)
    return replace(
        record,
        width=width,
        height=height,
        focus=focus,
        notes=tuple(dict.fromkeys((*record.notes, *opened.notes, *([cut] if cut else []), *against))),
        phash=phash,
        turned="".join(turned),
        pixels=hashlib.sha256(repr((width, height)).encode() + colours.tobytes()).hexdigest(),
        sharpness=round(sharpness(np.asarray(grey, np.uint8)), 3),
        exposure=round(float(grey.mean()) / 255, 4),
        histogram=_histogram(colours),
    )


def unfit(width: int, height: int, layout: LayoutSection) -> tuple[str, str] | None:
    """Why a picture of this size can't fill a panel of the layout, as a class and the end of a sentence; else None."""
    across, down = layout.panel_width / width, layout.panel_height / height
    enlarge = max(across, down) if layout.fit == "crop" else min(across, down)
    if enlarge > layout.max_enlarge:
        return "too small", (
            f"has {width} x {height} pixels and would be enlarged {enlarge:.1f} times for a panel of "
            f"{layout.panel_width} x {layout.panel_height} (limit layout.max_enlarge={layout.max_enlarge:g})."
        )
    _, lost = pixels.crop_of(width, height, (layout.panel_width, layout.panel_height))
    if layout.fit == "crop" and lost > layout.max_crop:
        return "shape", (
            f"has {width} x {height} pixels and would lose {lost:.0%} in a panel of {layout.panel_width} x "
            f"{layout.panel_height} (limit layout.max_crop={layout.max_crop:g}; layout.fit=pad loses nothing)."
        )
    return None


def _histogram(colours: np.ndarray) -> str:
    hsv = cv2.cvtColor(colours, cv2.COLOR_RGB2HSV)
    counts = cv2.calcHist([hsv], [0, 1, 2], None, list(BINS), [0, 180, 0, 256, 0, 256]).ravel()
    return bytes(np.round(255 * np.sqrt(counts / counts.sum())).astype(np.uint8).tolist()).hex()
