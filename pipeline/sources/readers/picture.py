"""Single pictures, with or without texts beside them, and the frames of animations if the task asks for them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

from pipeline import files, pixels
from pipeline.errors import BadInput
from pipeline.records import Position, Record, Rejected, content_id
from pipeline.sources.base import Item
from pipeline.sources.formats import format_of
from pipeline.sources.texts import text_of
from pipeline.task import Task

PRIORITY = 2
MOST_FRAMES = 200
"""Frames or pages that one file may give."""


def claims(item: Item, head: bytes, task: Task, folder: Path) -> bool:
    return format_of(head, item.name).kind == "picture"


def read(item: Item, task: Task, folder: Path) -> Iterator[Record | Rejected]:
    """One record, or one per frame; whether a single picture can be decoded is seen at `inspect`."""
    path, text = item.file(folder, pixels.MOST_BYTES), text_of(item, task)
    try:
        digest = files.digest(folder / path, pixels.MOST_BYTES)
    except OSError as error:
        raise BadInput(f"{item.source} can't be read: {error.strerror or error}.") from error
    if task.pictures.animated == "frames" and _is_sequence(folder / path):
        yield from _frames(item, task, folder, path)
    else:
        yield _record(item, text.text, digest, path, item.position(set=text.set, page=text.page))


def _record(item: Item, text: str, digest: str, path: Path, position: Position) -> Record:
    return Record(
        id=digest,
        path=str(path),
        source=item.source,
        position=position,
        text=text,
        licence=item.facts.of("licence"),
        author=item.facts.of("author"),
        url=item.facts.of("url"),
        date=item.facts.of("date"),
    )


def _is_sequence(path: Path) -> bool:
    try:
        return pixels.is_sequence(path)
    except BadInput:  # `inspect` rejects it with the reason
        return False


def _frames(item: Item, task: Task, folder: Path, path: Path) -> Iterator[Record | Rejected]:
    """The frames as pictures of a folder of their own, in order; of a set where a joint caption describes them."""
    home, text = Path("collected") / content_id("f", item.source), text_of(item, task)
    (folder / home).mkdir(parents=True, exist_ok=True)
    try:
        for number, image in enumerate(pixels.frames(folder / path)):
            if number == MOST_FRAMES:
                detail = f"{item.source} has more than {MOST_FRAMES} different frames; those after them are left out."
                yield item.reject("too many frames", detail)
                return
            buffer = io.BytesIO()
            image.save(buffer, "PNG", compress_level=1)
            frame = home / f"frame-{number + 1:03}.png"
            files.write(folder / frame, buffer.getvalue())
            position = item.position(
                folder=item.source, stem=f"{item.stem}-{number + 1:03}", order=number, page=number, set=text.set
            )
            yield _record(item, text.text, hashlib.sha256(buffer.getvalue()).hexdigest(), frame, position)
    except BadInput as error:  # an extracted copy goes by its hash, which nobody knows
        raise BadInput(str(error).replace(str(folder / path), item.source)) from error
