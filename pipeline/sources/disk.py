"""Files of the user's, as the content of items."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline import files
from pipeline.sources.base import CHUNK


@dataclass(frozen=True, slots=True)
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


def file_at(path: str) -> File:
    """The file at an absolute path."""
    try:
        state = os.stat(path)
    except OSError:  # a link to nowhere: no file is lost, it is rejected when it is read
        return File(Path(path), 0, 0)
    return File(Path(path), state.st_mtime_ns, state.st_size)


def beside(home: str, name: str) -> File | None:
    """A file by its name within a folder, which may begin with `../`; None where there is none."""
    path = os.path.normpath(f"{home}/{name}")
    return file_at(path) if os.path.lexists(path) and not os.path.isdir(path) else None


def walk(folder: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """Every folder from this one on, with the names of the folders and of the other files in it, as `os.walk` gives
    them; before Python 3.12 that calls itself for every level, and breaks a thousand levels down. What is taken out of
    the list of folders is not walked, nor what links lead to; folders that can't be read have nothing in them."""
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        _, folders, names = next(os.walk(here), (here, [], []))
        yield here, folders, names
        inner = [os.path.join(here, name) for name in folders]
        waiting += [path for path in reversed(inner) if not os.path.islink(path)]
