"""Masks that lie beside a data set: they say where a loss counts and are no pictures; each is rejected by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.records import Record, Rejected
from pipeline.sources.base import IMAGE_SUFFIXES
from pipeline.task import Task

PRIORITY = 0
FOLDERS = ("mask", "masks", "masks-held-out", "conditioning")
"""A folder of this name holds masks of the pictures of the same names beside it or in a folder beside it."""
ENDINGS = ("-masklabel", "-condlabel")
"""OneTrainer's: `0001-masklabel.png` belongs to `0001.png`."""


def claims(path: Path, task: Task) -> bool:
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return False
    if path.stem.endswith(ENDINGS):
        return _is_there(path.parent, path.stem.rpartition("-")[0])
    if path.parent.name.lower() not in FOLDERS:
        return False
    home = path.parent.parent
    beside = (folder for folder in home.iterdir() if folder.is_dir() and folder.name.lower() not in FOLDERS)
    return any(_is_there(folder, path.stem) for folder in (home, *beside))


def _is_there(folder: Path, stem: str) -> bool:
    return any((folder / f"{stem}{suffix}").is_file() for suffix in IMAGE_SUFFIXES)


def read(path: Path, task: Task, folder: Path) -> Iterator[Record | Rejected]:
    yield Rejected(str(path), str(path), "mask", f"{path} is the mask of a picture, not a picture.")
