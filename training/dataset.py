"""A data set folder as training reads it: grids, joint captions, reference images, and what the model sees of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from pipeline.errors import BadInput, BadReply
from pipeline.pixels import open_image
from pipeline.records import Layout, Reference, TrainingSample
from pipeline.task import Task
from pipeline.text import grammar
from pipeline.wording import command, counted

TRAIN, HELD_OUT = "train", "validation"
TABLE = "metadata.jsonl"
SQUEEZE = 0.01
"""How much a panel's aspect ratio may change when it is resized; most of it is rounding to whole tokens."""
NAMED = 5
"""Faults that an error lists one by one."""


@dataclass(frozen=True)
class Data:
    """Both sides of a data set's split."""

    train: tuple[TrainingSample, ...]
    """Sorted by id: the order must not depend on file names, which the hash does not cover."""
    held_out: tuple[TrainingSample, ...]

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
    """A folder as the export writes it, or one with pictures and `.txt` files of the same names, in `train/` or not.

    Raises:
        BadInput: there is nothing to train on, or pictures or captions are unusable; the first of them are listed.
    """
    home = folder / TRAIN if (folder / TRAIN).is_dir() else folder
    if not home.is_dir():
        raise BadInput(
            f"there is no data set in {folder}; make one with '{command(['iclora', 'dataset', task.name])}', or name "
            "one with --data FOLDER."
        )
    faults: list[str] = []
    train = _side(home, TRAIN, task, faults)
    held_out = _side(folder / HELD_OUT, HELD_OUT, task, faults) if (folder / HELD_OUT).is_dir() else ()
    if faults:
        more = f"; and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
        raise BadInput(f"the data set {folder} can't be trained on: {'; '.join(faults[:NAMED])}{more}.")
    if not train:
        raise BadInput(f"{home} has no pictures with captions to train on.")
    if shared := {one.id for one in train} & {one.id for one in held_out}:
        grids = counted(shared, f"grid of {folder} is", f"grids of {folder} are")
        raise BadInput(
            f"{grids} both trained on and held out; remove {'it' if len(shared) == 1 else 'them'} from one side."
        )
    return Data(tuple(sorted(train, key=lambda sample: sample.id)), held_out)


def _side(folder: Path, side: str, task: Task, faults: list[str]) -> tuple[TrainingSample, ...]:
    pictures = sorted(file for file in folder.iterdir() if file.suffix.lower() in Image.registered_extensions())
    table = folder / TABLE
    texts = dict(_entries(table)) if table.exists() else {file: _text_beside(file) for file in pictures}
    if unnamed := [file.name for file in pictures if file not in texts]:
        faults.append(f"{listed(unnamed)} in {folder} not listed in its {TABLE}: list them there, or move them away")
    other = [file for file, text in texts.items() if grammar.fold(_text_beside(file) or text) != grammar.fold(text)]
    if other:
        names = listed([file.with_suffix(".txt").name for file in other])
        faults.append(
            f"{names} and {table} have different captions: delete the table to train on the .txt files, or those"
        )
    found = (_sample(file, text, side, task, faults) for file, text in texts.items())
    return tuple(sample for sample in found if sample)


def _entries(table: Path) -> Iterator[tuple[Path, str]]:
    """Pictures and captions of a metadata.jsonl.

    Raises:
        BadInput: a line of it can't be read.
    """
    for number, line in enumerate(_read(table).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            yield table.parent / entry["file_name"], str(entry.get("text") or entry.get("prompt") or "")
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(
                f"{table}, line {number}: not JSON with a file_name; export the data set again, or delete the table "
                "and put a .txt file beside every picture."
            ) from error


def _text_beside(picture: Path) -> str:
    """The caption file of the same name; empty without one, so that no picture is silently skipped."""
    file = picture.with_suffix(".txt")
    return _read(file) if file.exists() else ""


def _read(file: Path) -> str:
    """A text file.

    Raises:
        BadInput: it is not UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{file} is not UTF-8 text (byte {error.start + 1} is {error.object[error.start]:#04x}); save it as UTF-8, "
            "and any others like it."
        ) from error


def name_of(sample: TrainingSample) -> str:
    """A grid's file with its folder, since both sides of a split may use the same names."""
    path = Path(sample.path)
    return f"{path.parent.name}/{path.name}"


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


def _sample(file: Path, text: str, side: str, task: Task, faults: list[str]) -> TrainingSample | None:
    text = grammar.fold(text)
    if not text:
        faults.append(f"{file.name} has no caption")
        return None
    try:
        content, size = file.read_bytes(), open_image(file).size  # decoded and upright, as it will be cut up
    except (OSError, BadInput):
        faults.append(f"{file.name} is missing or not a readable picture")
        return None
    layout = _layout(size, task)
    if layout is None:
        rows, cols, (width, height) = task.layout.rows, task.layout.cols, task.grid_layout.canvas
        faults.append(
            f"{file.name} has {size[0]} x {size[1]} pixels, which can't be cut into {rows} x {cols} panels of the "
            f"shape that {task.name} has (its canvas is {width} x {height}): recompose it with 'iclora dataset "
            "TASK --source FOLDER'"
        )
        return None
    return TrainingSample(
        id=hashlib.sha256(content + text.encode()).hexdigest()[:16],
        path=str(file),
        text=text,
        layout=layout,
        task=task.name,
        condition=tuple(panel - 1 for panel in task.condition),
        side=side,
    )


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
    """A grid as one step sees it: at a size, with its panels in an order, beside its reference images."""

    sample: TrainingSample
    layout: Layout
    order: tuple[int, ...]

    @property
    def references(self) -> tuple[Reference, ...]:
        return self.sample.references


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


def check_references(samples: Sequence[TrainingSample], base: str, most: int) -> None:
    """Refuses grids with more reference images than the model takes.

    Args:
        most: reference images per grid.

    Raises:
        BadInput: listing the grids.
    """
    if over := [name_of(sample) for sample in samples if len(sample.references) > most]:
        raise BadInput(
            f"base={base} takes {f'at most {most}' if most else 'no'} reference images per grid, and {listed(over)} "
            "have more; remove them, or train on another base."
        )
