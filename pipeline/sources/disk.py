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
