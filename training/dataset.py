"""A data set folder as training reads it: grids, joint captions, reference images, and what the model sees of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from pipeline import files
from pipeline.dataset import uses
from pipeline.errors import BadInput, BadReply
from pipeline.pixels import MOST_BYTES, open_image, upright_size
from pipeline.records import Layout, Reference, TrainingSample
from pipeline.sources import gathering
from pipeline.sources.base import Item
from pipeline.sources.companions import ENCODING, LISTING, SECOND, STRAY
from pipeline.sources.formats import format_of
from pipeline.sources.names import listed
from pipeline.sources.texts import ENDINGS
from pipeline.task import Task
from pipeline.text import grammar
from pipeline.wording import command, counted
from training.conditions import Given

TRAIN, HELD_OUT = "train", "validation"
SQUEEZE = 0.01
"""How much a panel's aspect ratio may change when it is resized; most of it is rounding to whole tokens."""
MOST_TEXT = 1 << 28
"""Bytes of a table of captions."""
NAMED = 5
"""Faults that an error lists one by one."""
CAPTIONS = (ENCODING, LISTING, SECOND)
"""Reasons of rows about captions that pictures of the folder should have."""


@dataclass(frozen=True)
class Data:
    """Both sides of a data set's split."""

    train: tuple[TrainingSample, ...]
    """Sorted by id: the order must not depend on file names, which the hash does not cover."""
    held_out: tuple[TrainingSample, ...]
    remarks: tuple[str, ...] = ()
    """What a person should know of the folder: files that are passed over, texts that belong to no picture."""

    @property
    def digest(self) -> str:
        """Hash of everything that is trained on, whatever its order and file names."""
        return _digest(self.train)

    @property
    def held_out_digest(self) -> str:
        """The same for the held-out side."""
        return _digest(self.held_out)


def _digest(samples: Sequence[TrainingSample]) -> str:
    contents = ("".join([sample.id, *(one.id for one in sample.references)]) for sample in samples)
    return hashlib.sha256("".join(sorted(contents)).encode()).hexdigest()[:16]


def read(folder: Path, task: Task) -> Data:
    """A folder as the export writes it, or any with pictures and their captions, in `train/` or not.

    What is a picture, and where its caption and its reference images may be, is decided as for every source.

    Args:
        task: as a training has it (`uses.as_trained`): for single panels its canvas is one panel.

    Raises:
        BadInput: there is nothing to train on, or pictures or captions are unusable; the first of them are listed.
    """
    home = folder / TRAIN if (folder / TRAIN).is_dir() else folder
    if not home.is_dir():
        raise BadInput(
            f"there is no data set in {folder}; make one with '{command(['iclora', 'dataset', task.name])}', or name "
            "one with --data FOLDER."
        )
    of_train: list[Item] = gathering.items_of([home])
    if home == folder:
        of_train = [item for item in of_train if not item.name.startswith(f"{HELD_OUT}/")]
    held_out: list[Item] = gathering.items_of([folder / HELD_OUT]) if (folder / HELD_OUT).is_dir() else []
    sides = [_side(items, side, task) for items, side in ((of_train, TRAIN), (held_out, HELD_OUT))]
    if faults := [fault for side in sides for fault in side.faults]:
        more = f"; and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
        raise BadInput(f"the data set {folder} can't be trained on: {'; '.join(faults[:NAMED])}{more}.")
    train, validation = (tuple(side.samples) for side in sides)
    if not train:
        raise BadInput(f"{home} has no pictures with captions to train on.")
    if shared := {one.id for one in train} & {one.id for one in validation}:
        noun = uses.noun(task)
        which = counted(shared, f"{noun} of {folder} is", f"{noun}s of {folder} are")
        raise BadInput(
            f"{which} both trained on and held out; remove {'it' if len(shared) == 1 else 'them'} from one side."
        )
    remarks = tuple(remark for side in sides for remark in side.remarks)
    return Data(tuple(sorted(train, key=lambda sample: sample.id)), validation, remarks)


@dataclass
class _Side:
    """What one side of the split has."""

    samples: list[TrainingSample] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """Why it can't be trained on."""
    remarks: list[str] = field(default_factory=list)


def _side(items: Sequence[Item], name: str, task: Task) -> _Side:
    side, told, passed, unlisted = _Side(), [], [], []
    tabled = any(item.listed for item in items)
    for item in items:
        if item.fault:
            told.append(item)
        elif _is_picture(item):
            if item.listed == tabled:
                _take(item, name, task, side)
            else:
                unlisted.append(item.name)
        elif item.text or item.listed:
            side.faults.append(f"{item.name} is not a readable picture")
        elif not item.mask:
            passed.append(item.name)
    if unlisted:
        side.faults.append(f"{listed(unlisted)} not in the listing that has the others: add to it, or move away")
    # Texts first: one that can't be read leaves a picture without a caption, which is a fault too.
    side.faults[:0] = [item.fault.detail.rstrip(".") for item in told if item.fault and _is_caption(item)]
    side.remarks += gathering.remarks(item for item in told if not _is_caption(item))
    if passed:
        side.remarks.append(f"not pictures, and passed over: {listed(passed)}.")
    return side


def _is_picture(item: Item) -> bool:
    """Whether it is one by its content, and not the mask of another."""
    try:
        return not item.mask and format_of(item.head(), item.name).kind == "picture"
    except BadInput:
        return False


def _is_caption(item: Item) -> bool:
    """Whether the fault of an item is that of a caption which some picture should have."""
    reason = item.fault.reason if item.fault else ""
    return reason in CAPTIONS or (reason != STRAY and Path(item.name).suffix.lower() in ENDINGS)


def name_of(sample: TrainingSample) -> str:
    """A grid's file with its folder, since both sides of a split may use the same names."""
    path = Path(sample.path)
    return f"{path.parent.name}/{path.name}"


def _take(item: Item, name: str, task: Task, side: _Side) -> None:
    """Makes a sample of a picture, or notes why it can't be trained on."""
    if not item.text:
        side.faults.append(f"{item.name} has no caption")
        return
    file = Path(item.source)
    try:
        content, size = files.read(file, MOST_BYTES), open_image(file).size  # decoded and upright, as it will be cut up
        references = tuple(map(_reference, item.references))
    except (OSError, BadInput):
        beside = " or has a reference image that is none" if item.references else ""
        side.faults.append(f"{item.name} is not a readable picture{beside}")
        return
    if uses.has_references(task) and not item.references:
        side.faults.append(f"{item.name} has no reference image, and the task has export.use={task.export.use}")
        return
    layout = _layout(size, task)
    if layout is None:
        rows, cols, (width, height) = task.layout.rows, task.layout.cols, task.grid_layout.canvas
        side.faults.append(
            f"{item.name} has {size[0]} x {size[1]} pixels, which can't be cut into {rows} x {cols} panels of the "
            f"shape that {task.name} has (its canvas is {width} x {height}): recompose it with 'iclora dataset "
            "TASK --source FOLDER'"
        )
        return
    side.samples.append(
        TrainingSample(
            id=hashlib.sha256(content + item.text.encode()).hexdigest()[:16],
            path=str(file),
            text=item.text,
            layout=layout,
            task=task.name,
            condition=tuple(panel - 1 for panel in task.condition),
            side=name,
            references=references,
        )
    )


def _reference(item: Item) -> Reference:
    """
    Raises:
        OSError, BadInput: it is not a readable picture.
    """
    file = Path(os.path.normpath(item.source))  # it may lie beside the folder of the pictures
    open_image(file)
    return Reference(hashlib.sha256(files.read(file, MOST_BYTES)).hexdigest()[:16], str(file))


def _layout(size: tuple[int, int], task: Task) -> Layout | None:
    """The task's panels in a picture of this size; None if they would be uneven or distorted."""
    rows, cols = task.layout.rows, task.layout.cols
    if size[0] % cols or size[1] % rows:
        return None
    width, height = size[0] // cols, size[1] // rows
    wanted = task.layout.panel_width / task.layout.panel_height
    return Layout(rows, cols, width, height) if abs(width / height / wanted - 1) <= SQUEEZE else None


# ---- what the model sees


@dataclass(frozen=True)
class View:
    """A grid as one step sees it: at a size, with its panels in an order."""

    sample: TrainingSample
    layout: Layout
    order: tuple[int, ...]


@dataclass(frozen=True)
class Prompt:
    """What a text encoder reads."""

    text: str
    references: tuple[Reference, ...] = ()
    """Empty for families whose text encoder sees no images."""


def plain(sample: TrainingSample, layout: Layout) -> View:
    """A grid with its panels in their own order."""
    return View(sample, layout, tuple(range(layout.size)))


def picture(view: View) -> Image.Image:
    """The whole canvas. Panels are cut out, resized one by one and reassembled, so that no seam is ever blurred.

    Pillow's own `resize(box=...)` reads beyond the box, as far as its filter reaches.
    """
    source, canvas = open_image(Path(view.sample.path)), Image.new("RGB", view.layout.canvas)
    size = (view.layout.panel_width, view.layout.panel_height)
    for panel, box in zip(view.order, view.layout.boxes, strict=True):
        cut = source.crop(view.sample.layout.boxes[panel])
        canvas.paste(cut if cut.size == size else cut.resize(size, Image.Resampling.LANCZOS), box[:2])
    return canvas


def references_of(view: View, given: Given) -> tuple[Reference, ...]:
    """The reference images that are shown beside a grid: the sample's own, or else its given panels, cut out of it."""
    if given.seen != "reference":
        return ()
    sample = view.sample
    return sample.references or tuple(_panel(sample, view.order[place]) for place in given.panels)


def _panel(sample: TrainingSample, panel: int) -> Reference:
    return Reference(f"{sample.id}-{panel + 1}", sample.path, sample.layout.boxes[panel])


def open_reference(reference: Reference) -> Image.Image:
    """A reference image, upright."""
    image = open_image(Path(reference.path))
    return image.crop(reference.box) if reference.box else image


def reference_size(reference: Reference) -> tuple[int, int]:
    """Its width and height in pixels, without decoding it."""
    if reference.box is None:
        return upright_size(Path(reference.path))
    left, top, right, bottom = reference.box
    return right - left, bottom - top


def fitted(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture at this width and height; the excess is cropped evenly from both sides."""
    return ImageOps.fit(image.convert("RGB"), size, Image.Resampling.LANCZOS)


def pixels(image: Image.Image) -> Tensor:
    """A picture as the VAE reads it: 3 x height x width, -1..1."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1


def caption(view: View, task: Task) -> str:
    """The caption with the texts of its panels in the view's order; the markers keep theirs.

    Raises:
        BadInput: a marker is missing, so that the texts can't be reordered.
    """
    text = view.sample.text
    if view.order == tuple(range(len(view.order))):
        return text
    texts = grammar.parse(text, task).panels
    try:
        for place, panel in enumerate(view.order):
            text = grammar.replace_panel(grammar.parse(text, task), place, texts[panel], task)
    except BadReply as error:
        raise BadInput(
            f"train.permute: the panels of {Path(view.sample.path).name} can't be reordered in its caption ({error}); "
            "fix the caption, or leave permute out."
        ) from error
    return text


def check_lengths(samples: Sequence[TrainingSample], counts: Sequence[int], limit: int) -> None:
    """Refuses captions that the text encoder would truncate.

    Args:
        counts: tokens of each sample's caption.

    Raises:
        BadInput: listing the longest of them.
    """
    over = sorted(
        ((count, name_of(sample)) for sample, count in zip(samples, counts, strict=True) if count > limit),
        reverse=True,
    )
    if over:
        names = listed([f"{name} ({count})" for count, name in over])
        raise BadInput(
            f"{counted(over, 'caption is', 'captions are')} longer than the {limit} tokens that the text encoder "
            f"reads, so the last panels would be lost: {names}; shorten them (those of a run in its captions.csv), or "
            "accept the loss with --set train.truncate=true."
        )
