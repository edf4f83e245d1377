"""Listings: one file that gives the texts and facts of many pictures of a data set."""

from __future__ import annotations

import csv
import io
import json
import os
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import BadInput
from pipeline.sources import encodings
from pipeline.sources.base import Facts, Fault
from pipeline.sources.names import key
from pipeline.text import grammar

NAMES = (
    "metadata.jsonl", "metadata.csv", "metadata.tsv", "metadata.json", "captions.jsonl", "captions.csv",
    "captions.tsv", "captions.json", "meta_cap.json",
)  # fmt: skip
"""Of `datasets`, DiffSynth, diffusion-pipe, kohya and others: in a picture's folder or any above it."""
FILE_KEYS = ("file_name", "image", "file", "filename", "image_path", "file_path", "path")
TEXT_KEYS = ("text", "prompt", "caption", "tags")
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
    read = {".jsonl": _lines, ".csv": _table, ".tsv": _table}.get(posixpath.splitext(where)[1].lower(), _objects)
    entries: list[Entry] = []
    try:
        for entry in read(text):
            if len(entries) == MOST_ENTRIES:
                raise ValueError(f"it has more than {MOST_ENTRIES:,} entries")
            entries.append(_entry(entry))
        return entries
    except (ValueError, TypeError, OverflowError, RecursionError, csv.Error) as error:
        raise BadInput(f"{where} can't be read as a listing of pictures ({error}); mend it or move it away.") from error


def _lines(text: str) -> Iterator[Any]:
    # Not splitlines(): JSON allows other line separators within a text.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"line {number}: {error}") from error


def _objects(text: str) -> Iterator[Any]:
    """A list of objects, or an object with texts or objects by the pictures' names."""
    found = json.loads(text)
    if isinstance(found, dict):
        said = ((name, what) for name, what in found.items() if isinstance(what, str | list | dict))
        found = [(what if isinstance(what, dict) else {"text": what}) | {"file": name} for name, what in said]
    yield from found if isinstance(found, list) else []


def _table(text: str) -> Iterator[Any]:
    """Rows by column, with the delimiter that splits the first line into the most known columns."""
    first, _, rest = text.partition("\n")
    if first.strip().lower() in ("sep=,", "sep=;", "sep=\t"):  # written by Excel
        text = rest

    def known(delimiter: str) -> int:
        header = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        return len({_column(cell) for cell in header} & {*FILE_KEYS, *TEXT_KEYS})

    rows = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=known))
    header = [_column(cell) for cell in next(rows, [])]
    for row in rows:
        if len(row) > len(header) and any(row[len(header) :]):
            raise ValueError(f"line {rows.line_num} has {len(row)} cells, the header {len(header)}: quote its text")
        if any(row):
            yield dict(zip(header, row, strict=False))


def _column(cell: str) -> str:
    return cell.strip(" \"'").casefold()


def _entry(entry: Any) -> Entry:
    if not isinstance(entry, dict):
        return Entry("", "", Facts())
    file = next((entry[name] for name in FILE_KEYS if isinstance(entry.get(name), str)), "")
    text = next((entry[name] for name in TEXT_KEYS if entry.get(name)), "")
    if isinstance(text, list):  # diffusion-pipe lists captions of which one is drawn
        text = text[0]
    text = "" if isinstance(text, dict) else str(text)
    boxes = tuple((int(left), int(top), int(right), int(bottom)) for left, top, right, bottom in _list(entry, "boxes"))
    sources = tuple(_rights(source) for source in _list(entry, "sources") if isinstance(source, dict))
    facts = Facts(boxes, _text(entry.get("group")), sources=sources or (_rights(entry),))
    flaw = encodings.flaw(text)
    return Entry(file.encode(errors="replace").decode(), "" if flaw else grammar.fold(text), facts, flaw)


def _rights(entry: Mapping[str, Any]) -> dict[str, str]:
    licence = entry.get("licence") or entry.get("license")
    return {"licence": _text(licence), "author": _text(entry.get("author")), "url": _text(entry.get("url"))}


def _text(value: object) -> str:
    """On one line, and without halves of letters, which JSON can escape and no file can hold."""
    return grammar.fold(str(value or "")).encode(errors="replace").decode()


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
