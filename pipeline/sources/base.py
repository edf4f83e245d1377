"""What a source is, and the texts that come with images."""

from __future__ import annotations

import codecs
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
    """`0001-2`, `0001_2`, `0001 (2)` and `0001_panel2` are page 2 of `0001`; None without a separated number."""
    found = re.fullmatch(r"(.+?)[ _.\-]+[A-Za-z]*\(?(\d{1,4})\)?", stem)
    return (found[1], int(found[2])) if found else None


def text_files(path: Path) -> list[Path]:
    """Where a text of an image may stand: its own, its set's, its folder's."""
    pages, folder = numbered(path.stem), path.parent
    of_set = [path.with_name(f"{pages[0]}.txt")] if pages else []
    of_folder = [folder / "caption.txt", folder / f"{folder.name}.txt", folder.with_name(f"{folder.name}.txt")]
    return [path.with_suffix(".txt"), *of_set, *of_folder]


def text_of(path: Path, task: Task) -> Text:
    """The text beside an image: the joint caption of the set that it belongs to, else its own (`a.txt` for `a.png`).

    A joint caption may be the image's own text, stand as `0001.txt` for `0001-1.png` to `0001-3.png`, or be that of a
    folder that is one set: `caption.txt` or the folder's own name in it, or the folder's name beside it.
    """
    pages = numbered(path.stem)
    page = pages[1] if pages else int(path.stem) if path.stem.isdecimal() else 0
    files = text_files(path)
    own, *shared = (read_text(file) for file in files)
    if own and grammar.is_joint(own, task):
        name = f"{pages[0] if pages else 'caption'} {hashlib.sha256(own.encode()).hexdigest()[:8]}"
        return Text(own, True, f"{path.parent.name}/{name}", page)
    for file, text in zip(files[1:], shared, strict=True):
        if text and grammar.is_joint(text, task):
            of_folder = not pages or file.stem != pages[0]
            return Text(text, True, path.parent.name if of_folder else f"{path.parent.name}/{file.stem}", page)
    return Text(own, page=page)


def read_text(path: Path) -> str:
    """The text on one line; empty where there is no such file.

    UTF-8, or UTF-16 where a byte order mark tells; any other bytes are read as Windows-1252, which holds Latin-1.
    """
    try:
        content = path.read_bytes()
    except OSError:
        return ""
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return grammar.fold(content.decode(encoding))
    except UnicodeDecodeError:
        return grammar.fold(content.decode("cp1252", errors="replace"))
