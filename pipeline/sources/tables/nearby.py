"""Which files a table means: by their paths, by paths of another machine, or by the group and panel in their names."""

from __future__ import annotations

import os
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from urllib.parse import unquote, urlsplit

from pipeline.sources import disk
from pipeline.sources.names import is_hidden, is_program_folder, key

PICTURES = frozenset((
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "tif", "tiff", "bmp", "avif", "heic", "heif", "jxl", "jp2",
    "jpx", "tga", "dds", "dng", "cr2", "cr3", "nef", "arw", "raf", "orf", "rw2", "mp4", "mov", "mkv", "webm", "avi",
    "m4v", "mpg", "mpeg", "mts", "m2ts", "mxf",
))  # fmt: skip
"""Endings by which a cell is seen to name a picture or a film; the file's content decides what it is."""
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
MOST_FILES = 1_000_000
"""Files that are looked at below a table's folder."""


def is_picture(cell: str) -> bool:
    """Whether a cell looks like the name of a picture or a film."""
    ending = posixpath.splitext(urlsplit(cell).path if ADDRESS.match(cell) else cell.strip())[1]
    return ending[1:].lower() in PICTURES


def path_of(cell: str) -> str:
    """The path that a cell gives, of a `file://` address too; with `/`, and as it stands otherwise."""
    if cell[:7].lower() == "file://":
        cell = unquote(urlsplit(cell).path)
        cell = cell[1:] if re.match(r"/[A-Za-z]:/", cell) else cell
    return cell.replace("\\", "/").strip()


class Nearby:
    """The files below a table's folder; they are looked for only where a path does not lead to one."""

    def __init__(self, folder: str) -> None:
        """
        Args:
            folder: its absolute path.
        """
        self.folder = folder

    def find(self, path: str) -> str | list[str]:
        """The absolute path of the file that a path means, or those among which it does not decide; none are there if
        the list is empty.

        A relative path leads from the table's folder. If no file is there, the one that is meant may be spelt in
        another case or Unicode form, lack its ending, or lie in a folder further down, if there is only one like it.
        """
        exact = os.path.normpath(os.path.join(self.folder, path))
        if os.path.lexists(exact) and not os.path.isdir(exact):
            return exact
        tail = key(posixpath.normpath(path)).lstrip("/")
        name = posixpath.basename(tail)
        found = [
            each
            for each in self._by_name.get(name, [])
            if any(
                spelt == tail or spelt.endswith(f"/{tail}") for spelt in (key(each), posixpath.splitext(key(each))[0])
            )
        ]
        nearest = [each for each in found if each.count("/") == tail.count("/")]
        found = nearest if len(nearest) == 1 else found
        return os.path.join(self.folder, found[0]) if len(found) == 1 else sorted(found)

    def has(self, path: str) -> bool:
        """Whether a path means one file."""
        return isinstance(self.find(path), str)

    def named(self, words: Sequence[str]) -> str | list[str]:
        """As `find`, for the file whose name, with or without the folders that it is in, consists of these words in any
        order."""
        wanted = tuple(sorted(part for word in words for part in _words(word)))
        found = [os.path.join(self.folder, name) for name in self._by_words.get(wanted, [])]
        return found[0] if len(found) == 1 else found

    @cached_property
    def names(self) -> list[str]:
        """The pictures and films below the folder, by their paths from it."""
        return sorted(self._walk())

    def _walk(self) -> Iterator[str]:
        count = 0
        for here, folders, names in disk.walk(self.folder):
            parent = os.path.basename(here)
            folders[:] = [name for name in folders if not is_hidden(name) and not is_program_folder(name, parent)]
            inner = os.path.relpath(here, self.folder).replace(os.sep, "/")
            for name in names:
                if is_picture(name) and not is_hidden(name):
                    yield name if inner == "." else f"{inner}/{name}"
                    count += 1
            if count > MOST_FILES:
                return

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for name in self.names:
            spelt = key(posixpath.basename(name))
            for each in {spelt, posixpath.splitext(spelt)[0]}:
                found[each].append(name)
        return dict(found)

    @cached_property
    def _by_words(self) -> dict[tuple[str, ...], list[str]]:
        """Files by the words of their names, alone and together with those of their folders."""
        found: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for name in self.names:
            parts = posixpath.splitext(name)[0].split("/")
            for start in range(len(parts)):
                words = tuple(sorted(word for part in parts[start:] for word in _words(part)))
                found[words].append(name)
        return dict(found)


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", key(text))
