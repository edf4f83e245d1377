"""A folder with all that lies below it, or a single file."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
        """Of regular files only: a pipe would be waited for, and a device has no end."""
        if not stat.S_ISREG(self.path.stat().st_mode):
            raise BadInput(f"{self.path} is not a regular file; move it away.")
        with self.path.open("rb") as file:
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
    walked: set[str] = set()
    for here, folders, names in os.walk(root, onerror=refused.append, followlinks=True):
        real = os.path.realpath(here)
        if real in walked or not {DATABASE, SETTINGS}.isdisjoint(names):
            folders.clear()
            continue
        walked.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
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
