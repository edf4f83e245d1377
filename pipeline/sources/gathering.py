"""Source paths -> items: opens containers, sorts what is in them, and attaches the texts and facts that came along."""

from __future__ import annotations

import os
import posixpath
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline import plugins
from pipeline.errors import BadInput
from pipeline.files import natural
from pipeline.sources import containers
from pipeline.sources.base import Container, Fault, Item
from pipeline.sources.companions import ENCODING, LISTING, SECOND, STRAY, Companions
from pipeline.sources.names import is_passed_over, listed

BESIDE = {
    ".txt", ".caption", ".json", ".jsonl", ".csv", ".tsv", ".md", ".toml", ".yaml", ".yml", ".sh", ".srt", ".vtt",
}  # fmt: skip
"""Endings of files that accompany images; they are not listed as unsupported."""
CHECKSUMS = "SHA256SUMS"
"""A file of this name accompanies a data set."""
TELLING = {
    STRAY: "{count} text file{s} belong{verb} to no picture: {names}",
    SECOND: "{count} text{s} differ{verb} from another text of the same picture: {names}",
    ENCODING: "{count} text{s} can't be read, for an encoding in doubt or lost letters: {names}; the rows say more",
}
"""What is said of rows with these reasons, besides the rows themselves."""
MASK_FOLDERS = ("mask", "masks", "masks-held-out", "conditioning")
"""A folder of this name holds masks of the pictures of the same names beside it or in a folder beside it."""
MASK_ENDINGS = ("-masklabel", "-condlabel")
"""OneTrainer's: `0001-masklabel.png` belongs to `0001.png`."""


@cache
def ordered(package: ModuleType) -> tuple[Any, ...]:
    """The plug-ins of a package in the order in which they are asked; a broken one of another package is left out."""
    found = plugins.usable(package)
    return tuple(module for _, module in sorted(found, key=lambda one: (one[1].PRIORITY, one[0].name)))


def items_of(paths: Sequence[Path]) -> list[Item]:
    """Everything below the given paths that may hold pictures, each thing once by whatever links lead to it.

    Items come in the order of the paths and within one in natural order (shot 2 before shot 10).

    Raises:
        BadInput: a path does not exist or can't be opened, or a listing is broken.
    """
    found: dict[tuple[str, str], Item] = {}
    for path in paths:
        if not path.exists():
            raise BadInput(f"source {path} does not exist; give a film, a picture, or a folder or archive of them.")
        container: Container = next(module for module in ordered(containers) if module.claims(path))
        for item in _within(path, container):
            found.setdefault(_identity(item), item)
    return _marked(list(found.values()))


def _within(path: Path, container: Container) -> Iterator[Item]:
    """What is in one container, with the texts and facts that came along; then a row for each text that is no use."""
    inside = list(_usable(item for item in container.items(path) if not is_passed_over(item.name)))
    beside = [item for item in inside if _is_beside(item)]
    things = [item for item in inside if not _is_beside(item)]
    companions = Companions(container, things, beside)
    for item in sorted(things, key=lambda item: (natural(item.source), item.source)):
        yield companions.complete(item)
    yield from companions.rows()


def is_thing(item: Item) -> bool:
    """Whether it is something that may hold pictures, sound or not; else it is a text about which there is a row."""
    return item.fault is None or item.fault.reason not in (*TELLING, LISTING)


def remarks(items: Iterable[Item]) -> list[str]:
    """What a person should know at once of the texts and listings that came along: one sentence each."""
    names: dict[str, list[str]] = {reason: [] for reason in TELLING}
    found = []
    for item in items:
        if item.fault and item.fault.reason == LISTING:
            found.append(item.fault.detail)
        elif item.fault and item.fault.reason in names:
            names[item.fault.reason].append(item.name)
    for reason, of_reason in names.items():
        if count := len(of_reason):
            s, verb = ("", "s") if count == 1 else ("s", "")
            found.append(f"{TELLING[reason].format(count=count, s=s, verb=verb, names=listed(of_reason))}.")
    return [remark.encode(errors="replace").decode() for remark in found]  # names need not be UTF-8


def _identity(item: Item) -> tuple[str, str]:
    """Equal for items that are one file by links. Names within archives are never resolved as if they were paths."""
    path = item.content.path if item.content else None
    return (os.path.realpath(path), "") if path else (os.path.realpath(item.home), item.name)


def _is_beside(item: Item) -> bool:
    """Whether it only accompanies others."""
    if item.fault:
        return False
    return posixpath.splitext(item.name)[1].lower() in BESIDE or posixpath.basename(item.name) == CHECKSUMS


def _usable(items: Iterable[Item]) -> Iterator[Item]:
    """The items; one whose name leads out of the container, or was there before, gets a fault and a name of its own."""
    seen: set[str] = set()
    for item in items:
        name, fault = item.name, item.fault
        parts = name.split("/")
        if name and (not parts[0] or not parts[-1] or not {".", ".."}.isdisjoint(parts) or "\0" in name):
            name = name.replace("\0", "?")
            fault = Fault(
                "name", f"{item.home} has a member named {name!r}, which leads out of it or nowhere; rename it."
            )
        if name in seen:
            fault = Fault("name", f"{item.source} is in {item.home} more than once; only the first is read.")
            name = f"{name} ({len(seen)})"
        seen.add(name)
        yield item if fault is item.fault else replace(item, name=name, content=None, fault=fault)


def _marked(items: Sequence[Item]) -> list[Item]:
    """The items with what takes a view of all of them: which texts say the same, and what is a mask."""
    own: dict[tuple[str, str], set[str]] = defaultdict(set)
    stems: set[tuple[str, str]] = set()
    for item in items:
        own[item.folder, item.text].add(item.stem)
        above, _, folder = item.folder.rpartition("/")
        stems.add((item.folder, item.stem))
        if folder.lower() not in MASK_FOLDERS:
            stems.add((f"{above}/*", item.stem))
    return [
        replace(item, twin=bool(item.text) and len(own[item.folder, item.text]) > 1, mask=_is_mask(item, stems))
        for item in items
    ]


def _is_mask(item: Item, stems: set[tuple[str, str]]) -> bool:
    if item.stem.endswith(MASK_ENDINGS):
        return (item.folder, item.stem.rpartition("-")[0]) in stems
    above, _, folder = item.folder.rpartition("/")
    return folder.lower() in MASK_FOLDERS and not stems.isdisjoint({(above, item.stem), (f"{above}/*", item.stem)})
