"""What a source is, and the texts that come with images: in files beside them, or in the listing of a data set."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from pipeline.errors import BadInput
from pipeline.records import Record, Rejected
from pipeline.task import Task
from pipeline.text import grammar

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


@dataclass(frozen=True)
class Listed:
    """What the listing of a data set says of a picture."""

    text: str = ""
    boxes: tuple[tuple[int, int, int, int], ...] = ()
    """Left, top, right, bottom of its panels, where it is a grid."""
    group: str = ""
    """The group of sources that it belongs to."""
    sources: tuple[Mapping[str, str], ...] = field(default=(), hash=False)
    """Licence, author and address of each panel, or of the picture."""

    def fact(self, name: str, page: int) -> str:
        """A panel's "licence", "author" or "url"; empty where the listing has none."""
        return str(self.sources[page].get(name) or "") if page < len(self.sources) else ""


LISTINGS = ("metadata.jsonl", "metadata.csv", "captions.json")
"""Of `datasets` and of DiffSynth, and of diffusion-pipe: in a picture's folder, or in the one above."""
FILE_KEYS, TEXT_KEYS = ("file_name", "image", "file", "filename"), ("text", "prompt", "caption")


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
    own = own or listed(path).text
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


# ---- listings


def listing_files(path: Path) -> list[Path]:
    """Where a picture of a data set may be listed, nearest first."""
    return [folder / name for folder in (path.parent, path.parent.parent) for name in LISTINGS]


def own_text(path: Path) -> str:
    """The text that a picture has for itself: in a file of its name, else in a listing."""
    return read_text(path.with_suffix(".txt")) or listed(path).text


def listed(path: Path) -> Listed:
    """What the nearest listing that names the picture says of it; nothing where none does.

    Raises:
        BadInput: a listing is there and broken: without it captions would be lost unseen.
    """
    for listing in listing_files(path):
        try:
            state = listing.stat()
        except OSError:
            continue
        entries = _read_listing(listing, state.st_mtime_ns, state.st_size)
        if found := entries.get(path.relative_to(listing.parent).as_posix()):
            return found
    return Listed()


@lru_cache(maxsize=8)
def _read_listing(path: Path, changed: int, size: int) -> Mapping[str, Listed]:
    """The pictures of a listing by their paths from it; empty where it is of some other kind.

    Args:
        changed: with the size it tells a changed file.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
        entries: list[Any]
        if path.suffix == ".jsonl":
            entries = [json.loads(line) for line in content.splitlines() if line.strip()]
        elif path.suffix == ".csv":
            entries = list(csv.DictReader(io.StringIO(content, newline="")))
        else:
            told = json.loads(content)
            entries = [{"file": file, "text": text} for file, text in told.items()] if isinstance(told, dict) else []
        return dict(filter(None, map(_entry, entries)))
    except (OSError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise BadInput(f"{path} can't be read as a listing of pictures ({error}); mend it or move it away.") from error


def _entry(entry: Any) -> tuple[str, Listed] | None:
    """A picture's path and what is said of it; None where the entry names no picture."""
    file = next((entry[key] for key in FILE_KEYS if isinstance(entry.get(key), str)), "")
    if not file:
        return None
    text = next((entry[key] for key in TEXT_KEYS if entry.get(key)), "")
    if isinstance(text, list):  # diffusion-pipe lists captions of which one is drawn
        text = text[0]
    boxes = tuple((int(left), int(top), int(right), int(bottom)) for left, top, right, bottom in _list(entry, "boxes"))
    sources = tuple(source for source in _list(entry, "sources") if isinstance(source, dict))
    own = {
        "licence": entry.get("licence") or entry.get("license"),
        "author": entry.get("author"),
        "url": entry.get("url"),
    }
    return Path(file).as_posix(), Listed(
        grammar.fold(str(text)), boxes, str(entry.get("group") or ""), sources or (own,)
    )


def _list(entry: Mapping[str, Any], key: str) -> list[Any]:
    value = entry.get(key)
    return value if isinstance(value, list) else []
