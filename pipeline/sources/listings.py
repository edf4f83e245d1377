"""Listings: one file that gives the texts and facts of many pictures of a data set."""

from __future__ import annotations

import json
import os
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.errors import BadInput
from pipeline.sources import encodings
from pipeline.sources.base import Facts, Fault
from pipeline.sources.names import key
from pipeline.sources.tables import fields
from pipeline.sources.tables import text as text_rows
from pipeline.text import grammar

NAMES = (
    "metadata.jsonl", "metadata.csv", "metadata.tsv", "metadata.json", "captions.jsonl", "captions.csv",
    "captions.tsv", "captions.json", "meta_cap.json",
)  # fmt: skip
"""Of `datasets`, DiffSynth, diffusion-pipe, kohya and others: in a picture's folder or any above it."""
MOST_BYTES, MOST_ENTRIES = 1 << 26, 500_000
"""Of a listing. JSON takes up to thirty times as much memory as bytes in a file."""
ABSOLUTE = re.compile(r"[A-Za-z]:[\\/]|[\\/]")
"""How absolute paths begin, those of Windows too."""


@dataclass(frozen=True)
class Entry:
    """What a listing says of one picture."""

    file: str
    """As it is written there; empty where the entry names no picture."""
    text: str
    facts: Facts
    flaw: str = ""
    """What shows that letters of the text were lost; then there is no text."""
    keys: tuple[str, ...] = ()
    """What the entry has besides the picture."""

    @property
    def is_useful(self) -> bool:
        """Whether it says anything that is read."""
        known = any(value for source in self.facts.sources for value in source.values())
        return bool(self.text or self.flaw or known or replace(self.facts, sources=()) != Facts())


def parse(content: bytes, where: str) -> list[Entry]:
    """The entries of a listing, in order.

    Args:
        where: its address, for the message and by its ending for the format.

    Raises:
        BadInput: it is broken. Captions would be lost unseen without it, so this is not a row.
    """
    text = encodings.decode(content, where)
    if isinstance(text, Fault):
        raise BadInput(text.detail)
    entries: list[Entry] = []
    try:
        for label, found in text_rows.parse(text, posixpath.splitext(where)[1]):
            if len(entries) == MOST_ENTRIES:
                raise ValueError(f"it has more than {MOST_ENTRIES:,} entries")
            if isinstance(found, str) and found != text_rows.NO_OBJECT:
                raise ValueError(f"{label} {found}")
            entries.append(_entry(found))
        return entries
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise BadInput(f"{where} can't be read as a listing of pictures ({error}); mend it or move it away.") from error


def parse_one(content: bytes, where: str) -> Entry:
    """What a JSON object says of the one picture that it belongs to.

    Raises:
        BadInput: it is none.
    """
    text = encodings.decode(content, where)
    try:
        found = None if isinstance(text, Fault) else json.loads(text)
        if isinstance(found, dict):
            return _entry(found)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise BadInput(f"{where} can't be read ({error}).") from error
    raise BadInput(f"{where} is not a JSON object.")


def _entry(entry: Any) -> Entry:
    if not isinstance(entry, dict):
        return Entry("", "", Facts())
    said = fields.by_name(entry)
    file, text = fields.value("image", said), fields.value("text", said)
    if isinstance(text, list):  # diffusion-pipe lists captions of which one is drawn
        text = text[0]
    text = "" if isinstance(text, dict) else str(text or "")
    boxes = tuple((int(left), int(top), int(right), int(bottom)) for left, top, right, bottom in _list(entry, "boxes"))
    sources = tuple(_rights(fields.by_name(source)) for source in _list(entry, "sources") if isinstance(source, dict))
    group, panel = (fields.line(fields.value(name, said)) for name in ("group", "panel"))
    order = fields.number(fields.value("order", said))
    facts = Facts(boxes, group, panel, order, sources=sources or (_rights(said),), **_referring(said))
    flaw = encodings.flaw(text)
    name = file if isinstance(file, str) else ""
    name = name.encode(errors="replace").decode()
    keys = tuple(fields.line(key) for key, value in entry.items() if value != file)
    return Entry(name, "" if flaw else grammar.fold(text), facts, flaw, keys)


def _referring(said: Mapping[str, Any]) -> dict[str, Any]:
    """What an entry says of reference images; our own also which panels of which grid they and the picture are."""
    references = fields.references(said)
    if not references:
        return {}
    panels = said.get("referencepanels")
    numbers = [*panels, said.get("panel")] if isinstance(panels, list) and "boxes" not in said else []
    if len(numbers) != len(references) + 1 or not all(isinstance(one, int) and one > 0 for one in numbers):
        return {"references": references}
    return {"references": references, "set": fields.line(said.get("id")), "places": tuple(one - 1 for one in numbers)}


def _rights(said: Mapping[str, Any]) -> dict[str, str]:
    return {name: fields.line(fields.value(name, said)) for name in fields.RIGHTS}


def _list(entry: Mapping[str, Any], name: str) -> list[Any]:
    value = entry.get(name)
    return value if isinstance(value, list) else []


# ---- which pictures are meant


class Pictures:
    """The names of a container's items, to be found by what listings call them."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(names)
        self.spelt: dict[str, list[str]] = defaultdict(list)
        for name in self.names:
            for spelling in {key(name), key(posixpath.splitext(name)[0])}:
                self.spelt[spelling].append(name)

    def find(self, name: str) -> str:
        """The item of that name: exactly, else the only one in another spelling or without its ending (kohya's)."""
        if name in self.names:
            return name
        spelt = self.spelt.get(key(name), [])
        return spelt[0] if len(spelt) == 1 else ""


def places(entries: Sequence[Entry], folder: str, home: str, pictures: Pictures) -> list[str]:
    """For every entry the name of its picture in the container; the name that it should have where there is none.

    Paths are relative to the listing, or absolute; those of another machine or of a folder that was moved since are
    taken to be below the listing, without the beginning that all of them share.

    Args:
        folder: where the listing lies in the container: "", "a/b/", or "../" above its root.
        home: address of the container.
    """
    roots = {f"{root.rstrip('/')}/" for root in (home, os.path.realpath(home))}
    above = f"../{posixpath.basename(home)}/"

    def within(path: str) -> str:
        name = next((path.removeprefix(root) for root in roots if path.startswith(root)), f"{folder}{path}")
        return posixpath.normpath(name).removeprefix(above) if name else ""

    def is_foreign(file: str) -> bool:
        return bool(ABSOLUTE.match(file)) and not file.startswith(tuple(roots))

    foreign = [_slashed(entry.file) for entry in entries if is_foreign(entry.file)]
    start = _shared_start(foreign, lambda tail: pictures.find(within(tail)))
    found = []
    for entry in entries:
        path = _slashed(entry.file)
        if is_foreign(entry.file) and start and path.startswith(start):
            path = path.removeprefix(start)
        found.append(pictures.find(within(entry.file)) or pictures.find(within(path)) or within(path))
    return found


def _slashed(file: str) -> str:
    return file.replace("\\", "/")


def _shared_start(paths: Sequence[str], find: Callable[[str], str]) -> str:
    """The beginning without which most of the paths lead to a picture; the shortest of those that serve as many."""
    votes = Counter(
        path[: slash.end()] for path in paths for slash in re.finditer("/", path) if find(path[slash.end() :])
    )
    return max(votes, key=lambda start: (votes[start], -len(start)), default="")
