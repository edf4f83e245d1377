"""What a source is, and the texts that come with images."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline import grammar
from pipeline.records import Record, Rejected
from pipeline.task import Task

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"}


class Source(Protocol):
    """A source module: which files are its own, and how one of them becomes records."""

    PRIORITY: int
    """Sources are asked in this order, lowest first; the first that claims a file reads it."""

    def claims(self, path: Path, task: Task) -> bool:
        """Whether the file is of this kind. May read texts beside it, decodes no pixels."""

    def read(self, path: Path, task: Task, folder: Path) -> Iterator[Record | Rejected]:
        """The file's images, each a record or rejected with its reason.

        Args:
            folder: the run's folder; pictures that the source makes go below it, and their records' paths are
                relative to it. Other records keep the absolute path of the user's file.
        """


@dataclass(frozen=True)
class Text:
    """A text that came with an image; `joint` tells that it describes a whole set, which `set` names."""

    text: str = ""
    joint: bool = False
    set: str = ""
    page: int = 0


def numbered(stem: str) -> tuple[str, int] | None:
    """`0001-2`, `0001_2`, `0001 (2)` and `0001.2` are page 2 of `0001`; None without a number behind a separator."""
    found = re.fullmatch(r"(.+?)[ _.\-]+\(?(\d{1,4})\)?", stem)
    return (found[1], int(found[2])) if found else None


def text_of(path: Path, task: Task) -> Text:
    """The text beside an image: its own (`a.txt` for `a.png`), or the joint caption of the set that it belongs to.

    A joint caption may be the image's own text, stand as `0001.txt` for `0001-1.png` to `0001-3.png`, or as
    `caption.txt` in a folder that is one set.
    """
    pages = numbered(path.stem)
    page = pages[1] if pages else int(path.stem) if path.stem.isdigit() else 0
    own = _read(path.with_suffix(".txt"))
    if own and grammar.is_joint(own, task):
        name = pages[0] if pages else hashlib.sha256(own.encode()).hexdigest()[:8]
        return Text(own, True, f"{path.parent.name}/{name}", page)
    if own:
        return Text(own, page=page)
    beside = [(path.parent / "caption.txt", path.parent.name)]
    if pages:
        beside.insert(0, (path.with_name(f"{pages[0]}.txt"), f"{path.parent.name}/{pages[0]}"))
    for file, name in beside:
        shared = _read(file)
        if shared and grammar.is_joint(shared, task):
            return Text(shared, True, name, page)
    return Text(page=page)


def _read(path: Path) -> str:
    """The text on one line; empty where there is no such file. Bytes that are no UTF-8 are read as Latin-1."""
    try:
        content = path.read_bytes()
    except OSError:
        return ""
    try:
        return grammar.fold(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return grammar.fold(content.decode("latin-1"))
