"""A data set folder as training reads it: grids, joint captions, and what the model sees of both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.errors import BadInput, BadReply
from pipeline.pixels import open_image
from pipeline.records import Layout, TrainingSample
from pipeline.task import Task
from pipeline.text import grammar

TRAIN, HELD_OUT = "train", "validation"
TABLE = "metadata.jsonl"
SQUEEZE = 0.01
"""A panel's shape may change by this share when it is resized; rounding its sides to 16 pixels takes most of it."""
NAMED = 5
"""Faults that an error names one by one."""


@dataclass(frozen=True)
class Data:
    """Both sides of a data set."""

    train: tuple[TrainingSample, ...]
    """In the order of their ids: what comes when must not hang on the names of files, which the hash doesn't see."""
    held_out: tuple[TrainingSample, ...]

    @property
    def digest(self) -> str:
        """Hash of all pictures and captions that are trained on, whatever their order and names."""
        return hashlib.sha256("".join(sorted(sample.id for sample in self.train)).encode()).hexdigest()[:16]


def read(folder: Path, task: Task) -> Data:
    """A folder as the export writes it, or any with `train/` (or nothing) holding pictures and `.txt` of the same name.

    Raises:
        BadInput: there is nothing to train on, or pictures or captions can't be used; the first of them are named.
    """
    home = folder / TRAIN if (folder / TRAIN).is_dir() else folder
    if not home.is_dir():
        raise BadInput(
            f"there is no data set in {folder}; make one with 'iclora dataset {task.name}', or name one with "
            "--data FOLDER."
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
        raise BadInput(f"{len(shared)} grids of {folder} are both trained on and held out; take them off one side.")
    return Data(tuple(sorted(train, key=lambda sample: sample.id)), held_out)


def _side(folder: Path, side: str, task: Task, faults: list[str]) -> tuple[TrainingSample, ...]:
    pictures = sorted(file for file in folder.iterdir() if file.suffix.lower() in Image.registered_extensions())
    table = folder / TABLE
    texts = dict(_entries(table)) if table.exists() else {file: _text_beside(file) for file in pictures}
    if unnamed := [file.name for file in pictures if file not in texts]:
        faults.append(f"{listed(unnamed)} stand in {folder} and not in its {TABLE}: add them there, or take them out")
    other = [file for file, text in texts.items() if grammar.fold(_text_beside(file) or text) != grammar.fold(text)]
    if other:
        names = listed([file.with_suffix(".txt").name for file in other])
        faults.append(f"{names} tell other captions than {table}: remove the table to train on the .txt, or the .txt")
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
                f"{table}, line {number}: no JSON with a file_name; write the data set anew, or remove the table and "
                "put a .txt beside every picture."
            ) from error


def _text_beside(picture: Path) -> str:
    """The text of the same name; none where there is no such file, so that a picture is never left out in silence."""
    file = picture.with_suffix(".txt")
    return _read(file) if file.exists() else ""


def _read(file: Path) -> str:
    """A text file.

    Raises:
        BadInput: it is not in UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{file} is no text in UTF-8 (byte {error.start + 1} is {error.object[error.start]:#04x}); save it in "
            "UTF-8, and any other like it."
        ) from error


def name_of(sample: TrainingSample) -> str:
    """A grid's file, with its folder: both sides of a data set may have the same names."""
    path = Path(sample.path)
    return f"{path.parent.name}/{path.name}"


def listed(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


def _sample(file: Path, text: str, side: str, task: Task, faults: list[str]) -> TrainingSample | None:
    text = grammar.fold(text)
    if not text:
        faults.append(f"{file.name} has no caption")
        return None
    try:
        content, size = file.read_bytes(), open_image(file).size  # decoded and upright, as it will be cut
    except (OSError, BadInput):
        faults.append(f"{file.name} is missing or no picture")
        return None
    layout = _layout(size, task)
    if layout is None:
        rows, cols, (width, height) = task.layout.rows, task.layout.cols, task.grid_layout.canvas
        faults.append(
            f"{file.name} has {size[0]} x {size[1]} pixels, which {task.name} can't cut into {rows} x {cols} panels of "
            f"its shape (its canvas is {width} x {height}): have 'iclora dataset {task.name} --source' compose it anew"
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
    """The task's panels in a picture of that size; None where they would be cut unevenly or squeezed."""
    rows, cols = task.layout.rows, task.layout.cols
    if size[0] % cols or size[1] % rows:
        return None
    width, height = size[0] // cols, size[1] // rows
    wanted = task.layout.panel_width / task.layout.panel_height
    return Layout(rows, cols, width, height) if abs(width / height / wanted - 1) <= SQUEEZE else None


# ---- what the model sees


@dataclass(frozen=True)
class View:
    """A grid as one step sees it: at a size, its panels in an order."""

    sample: TrainingSample
    layout: Layout
    order: tuple[int, ...]


def plain(sample: TrainingSample, layout: Layout) -> View:
    """A grid with its panels as they stand."""
    return View(sample, layout, tuple(range(layout.size)))


def picture(view: View) -> Image.Image:
    """The whole canvas. Panels are cut out, resized one by one and put together after: no seam is ever blurred.

    Pillow's own `resize(box=...)` reads beyond the box, as far as its filter reaches.
    """
    source, canvas = open_image(Path(view.sample.path)), Image.new("RGB", view.layout.canvas)
    size = (view.layout.panel_width, view.layout.panel_height)
    for panel, box in zip(view.order, view.layout.boxes, strict=True):
        cut = source.crop(view.sample.layout.boxes[panel])
        canvas.paste(cut if cut.size == size else cut.resize(size, Image.Resampling.LANCZOS), box[:2])
    return canvas


def pixels(image: Image.Image) -> Tensor:
    """A picture as the VAE reads it: 3 x height x width, -1..1."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1


def caption(view: View, task: Task) -> str:
    """The caption with its panels' texts in the order of the view; the markers stay in theirs.

    Raises:
        BadInput: a marker is missing, so that the texts can't be moved.
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
            f"train.permute: the caption of {Path(view.sample.path).name} can't be put in another order ({error}); "
            "mend it, or leave permute out."
        ) from error
    return text


def check_lengths(samples: Sequence[TrainingSample], counts: Sequence[int], limit: int) -> None:
    """Refuses captions that the text encoder would cut.

    Args:
        counts: tokens of each sample's caption.

    Raises:
        BadInput: with the longest of them.
    """
    over = sorted(
        ((count, name_of(sample)) for sample, count in zip(samples, counts, strict=True) if count > limit),
        reverse=True,
    )
    if over:
        names = listed([f"{name} ({count})" for count, name in over])
        raise BadInput(
            f"{len(over)} captions are longer than the {limit} tokens that the text encoder reads, and their last "
            f"panels would be lost: {names}; shorten them, those of a run in its captions.csv, or cut them knowingly "
            "with --set train.truncate=true."
        )
