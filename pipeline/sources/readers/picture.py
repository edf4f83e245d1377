"""Single pictures, with or without texts beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline import files, pixels
from pipeline.errors import BadInput
from pipeline.records import Record, Rejected
from pipeline.sources.base import Item
from pipeline.sources.formats import format_of
from pipeline.sources.texts import text_of
from pipeline.task import Task

PRIORITY = 2


def claims(item: Item, head: bytes, task: Task, folder: Path) -> bool:
    return format_of(head).kind == "picture"


def read(item: Item, task: Task, folder: Path) -> Iterator[Record | Rejected]:
    """One record; whether the picture can be decoded is seen at `inspect`."""
    path, text = item.file(folder, pixels.MOST_BYTES), text_of(item, task)
    try:
        digest = files.digest(folder / path, pixels.MOST_BYTES)
    except OSError as error:
        raise BadInput(f"{item.source} can't be read: {error.strerror or error}.") from error
    yield Record(
        id=digest,
        path=str(path),
        source=item.source,
        position=item.position(set=text.set, page=text.page),
        text=text.text,
        licence=item.facts.of("licence"),
        author=item.facts.of("author"),
        url=item.facts.of("url"),
        date=item.facts.of("date"),
    )
