"""A folder with all that lies below it, or a single file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import BadInput
from pipeline.sources import disk
from pipeline.sources.base import Content, Fault, Item
from pipeline.sources.names import is_hidden, is_program_folder
from pipeline.store import DATABASE, SETTINGS
from pipeline.task import Task

PRIORITY = 100


def claims(path: Path) -> bool:
    return os.path.lexists(path)


def items(path: Path, task: Task | None = None) -> Iterator[Item]:
    """Hidden folders and those of programs are passed over, and so is a run's folder, whose pictures are no source.

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
        inner = "" if here == root else f"{os.path.relpath(here, root)}{os.sep}"
        made = {name for name in folders if is_program_folder(name, os.path.basename(here))}
        yield from (Item(root, f"{inner}{name}/".replace(os.sep, "/")) for name in sorted(made))
        shown = sorted(name for name in folders if not is_hidden(name))
        refused += (error for name in shown if name in made and (error := _refusal(os.path.join(here, name))))
        waiting += [os.path.join(here, name) for name in reversed(shown) if name not in made]
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


def _refusal(folder: str) -> OSError | None:
    """Why a folder that is not walked can't be read, which may be a fault of the whole disk; None if it can."""
    try:
        os.scandir(folder).close()
    except OSError as refusal:
        return refusal
    return None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def beside(home: str, name: str) -> Content | None:
    return disk.beside(home, name)


def _item(root: str, name: str) -> Item:
    return Item(root, name.replace(os.sep, "/"), disk.file_at(os.path.join(root, name)))
