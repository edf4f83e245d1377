"""A folder with all that lies below it, or a single file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline import files
from pipeline.errors import BadInput
from pipeline.sources.base import CHUNK, Content, Fault, Item
from pipeline.store import DATABASE, SETTINGS

PRIORITY = 100


@dataclass(frozen=True)
class File:
    """A file of the user's. A link keeps its own name (caches link names with endings to nameless blobs)."""

    path: Path
    changed: int
    """Time of the last change in nanoseconds; with the size it shows a change."""
    size: int

    def chunks(self) -> Iterator[bytes]:
        with files.open_regular(self.path) as file:
            while chunk := file.read(CHUNK):
                yield chunk


def claims(path: Path) -> bool:
    return True


def items(path: Path) -> Iterator[Item]:
    """Hidden folders are passed over, and what lies below a run's folder: a run's own pictures are no source.

    Links are followed, and no folder is walked twice. One that can't be read is an item with a fault.

    Raises:
        BadInput: the source itself can't be read.
    """
    root = os.path.abspath(path)
    if not path.is_dir():
        yield _item(os.path.dirname(root), os.path.basename(root))
        return
    refused: list[OSError] = []
    walked: set[tuple[int, int]] = set()
    waiting = [root]
    while waiting:  # not os.walk, which before Python 3.12 calls itself for every level
        here = waiting.pop()
        try:
            state = os.stat(here)
            folders, names = _listed(here)
        except OSError as refusal:
            refused.append(refusal)
            continue
        place = (state.st_dev, state.st_ino)
        if place in walked or not {DATABASE, SETTINGS}.isdisjoint(names):
            continue
        walked.add(place)
        shown = sorted(name for name in folders if not name.startswith("."))
        waiting += [os.path.join(here, name) for name in reversed(shown)]
        inner = "" if here == root else f"{os.path.relpath(here, root)}{os.sep}"
        yield from (_item(root, f"{inner}{name}") for name in names)
    for error in refused:
        if error.filename == root:
            raise BadInput(f"folder {root} can't be read: {error.strerror}; change that or leave it out.")
        yield Item(
            root,
            os.path.relpath(error.filename, root).replace(os.sep, "/"),
            fault=Fault("unreadable", f"folder {error.filename} can't be read: {error.strerror}."),
        )


def _listed(folder: str) -> tuple[list[str], list[str]]:
    """The names of the folders in a folder, by whatever links lead to them, and all others."""
    with os.scandir(folder) as entries:
        found = {entry.name: _is_folder(entry) for entry in entries}
    return [name for name, is_folder in found.items() if is_folder], [name for name in found if not found[name]]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def beside(home: str, name: str) -> Content | None:
    path = os.path.normpath(f"{home}/{name}")
    return _file(path) if os.path.lexists(path) and not os.path.isdir(path) else None


def _item(root: str, name: str) -> Item:
    return Item(root, name.replace(os.sep, "/"), _file(os.path.join(root, name)))


def _file(path: str) -> File:
    try:
        state = os.stat(path)
    except OSError:  # a link to nowhere: no file is lost, it is rejected when it is read
        return File(Path(path), 0, 0)
    return File(Path(path), state.st_mtime_ns, state.st_size)
