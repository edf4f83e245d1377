"""Single images in a folder, with or without texts beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from pipeline.records import Position, Record, Rejected
from pipeline.sources.base import IMAGE_SUFFIXES, listed, text_of
from pipeline.task import Task

PRIORITY = 2


def claims(path: Path, task: Task) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def read(path: Path, task: Task, folder: Path) -> Iterator[Record | Rejected]:
    """One record; whether the picture can be decoded is seen at `inspect`."""
    try:
        content = path.read_bytes()
    except OSError as error:  # a link to nowhere, no permission
        yield Rejected(str(path), str(path), "unreadable", f"{path} can't be read: {error.strerror}.")
        return
    text, known = text_of(path, task), listed(path)
    yield Record(
        id=hashlib.sha256(content).hexdigest(),
        path=str(path),
        source=str(path),
        position=Position(folder=str(path.parent), stem=path.stem, set=text.set, page=text.page, group=known.group),
        text=text.text,
        licence=known.fact("licence", 0),
        author=known.fact("author", 0),
        url=known.fact("url", 0),
    )
