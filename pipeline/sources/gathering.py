"""Source paths -> items: opens containers, sorts what is in them, and attaches the texts and facts that came along."""

from __future__ import annotations

import os
import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline import plugins
from pipeline.errors import BadInput
from pipeline.sources import containers, listings, texts
from pipeline.sources.base import Container, Content, Facts, Fault, Item

BESIDE = {".txt", ".json", ".jsonl", ".csv", ".md", ".toml", ".yaml", ".yml", ".sh", ".caption", ".srt", ".vtt"}
"""Endings of files that accompany images; they are not listed as unsupported."""
CHECKSUMS = "SHA256SUMS"
"""A file of this name accompanies a data set."""
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
        inside = _usable(item for item in container.items(path) if not _is_passed_over(item))
        for item in _attached(sorted(inside, key=lambda item: (natural(item.source), item.source)), container):
            found.setdefault(_identity(item), item)
    return _marked(list(found.values()))


def _identity(item: Item) -> tuple[str, str]:
    """Equal for items that are one file by links. Names within archives are never resolved as if they were paths."""
    path = item.content.path if item.content else None
    return (os.path.realpath(path), "") if path else (os.path.realpath(item.home), item.name)


def natural(text: str) -> list[tuple[int, int | str]]:
    """Sort key that reads digits as numbers."""
    parts = re.split(r"(\d+)", text.casefold())
    return [(1, int(part)) if part.isdecimal() else (0, part) for part in parts]


def _is_passed_over(item: Item) -> bool:
    """Whether it is hidden, or only accompanies others."""
    hidden = any(part.startswith(".") and part not in (".", "..") for part in item.name.split("/"))
    beside = posixpath.splitext(item.name)[1].lower() in BESIDE or posixpath.basename(item.name) == CHECKSUMS
    return hidden or (not item.fault and beside)


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


def _attached(items: Iterable[Item], container: Container) -> Iterator[Item]:
    """The items with their texts and facts, and a row for each text that is there and can't be read."""
    faults: list[Item] = []

    @cache
    def listing(home: str, name: str) -> listings.Entries:
        content = container.beside(home, name)
        where = f"{home}/{name}"
        return listings.parse(_bytes(content, where, listings.MOST_BYTES), where) if content else {}

    @cache
    def text(home: str, name: str) -> str:
        where = f"{home}/{name}"
        try:
            content = container.beside(home, name)
            return texts.decode(_bytes(content, where, texts.MOST_BYTES)) if content else ""
        except BadInput as error:
            faults.append(Item(home, name, fault=Fault("unreadable", str(error))))
            return ""

    for item in items:
        yield item if item.fault else _complete(item, text, listing)
    yield from faults


def _complete(item: Item, text: Callable[[str, str], str], listing: Callable[[str, str], listings.Entries]) -> Item:
    """What the container itself knows of an item comes first, then a file beside it, then a listing."""
    nothing = ("", Facts())
    entries = (listing(item.home, name).get(key) for name, key in listings.names(item))
    listed, facts = next((entry for entry in entries if entry), nothing)
    shared = ((text(item.home, name), of_set) for name, of_set in texts.shared_names(item))
    return replace(
        item,
        text=item.text or text(item.home, texts.own_name(item)) or listed,
        facts=facts if item.facts == Facts() else item.facts,
        shared=tuple((found, of_set) for found, of_set in shared if found),
    )


def _bytes(content: Content, where: str, most: int) -> bytes:
    found = bytearray()
    try:
        for chunk in content.chunks():
            found += chunk
            if len(found) > most:
                raise BadInput(f"{where} has more than {most:,} bytes, too many for captions; move it away.")
    except OSError as error:
        raise BadInput(f"{where} can't be read: {error.strerror or error}.") from error
    return bytes(found)


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
