"""Rows of text files: CSV and TSV in the dialects of spreadsheets, JSON Lines, JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from pipeline.sources.base import Content
from pipeline.sources.tables.base import Row
from pipeline.sources.tables.fields import KNOWN, plain

DELIMITERS = ",;\t|"
LONGEST_CELL = 1 << 20
"""Characters; Python's own limit of 131,072 is less than a long prompt with a list of tags may have."""
SAMPLE = 20
"""Rows by which a delimiter is told."""
FILE = re.compile(r"\.[A-Za-z0-9]{2,5}\Z")
"""How a cell of a table without a header may end: the name of a file."""

NO_OBJECT = "is not an object"

Parsed = tuple[str, dict[str, Any] | str]
"""What a row is found by ("line 4"), and its values by column, or what is wrong with it."""


def parse(text: str, ending: str) -> Iterator[Parsed]:
    """The rows of a file; those that can't be read are told where they stand.

    Args:
        ending: of the file's name, with its dot: `.csv`, `.tsv`, `.tab`, `.jsonl`, `.ndjson` or `.json`.

    Raises:
        ValueError, RecursionError: it is not JSON.
    """
    kinds: dict[str, Callable[[str], Iterator[Parsed]]] = {
        **dict.fromkeys((".csv", ".tsv", ".tab"), _cells),
        **dict.fromkeys((".jsonl", ".ndjson"), _lines),
    }
    return kinds.get(ending.lower(), _objects)(text)


def _lines(text: str) -> Iterator[Parsed]:
    # Not splitlines(): JSON allows other line separators within a text.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                found = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield f"line {number}", f"is not JSON: {error}"
                continue
            yield f"line {number}", found if isinstance(found, dict) else NO_OBJECT


def _objects(text: str) -> Iterator[Parsed]:
    """A list of objects, an object with texts or objects by the pictures' names, or one with lists by column."""
    found = json.loads(text)
    if isinstance(found, dict):
        found = _unfolded(found)
    for number, entry in enumerate(found if isinstance(found, list) else [], start=1):
        yield f"entry {number}", entry if isinstance(entry, dict) else NO_OBJECT


def _unfolded(found: dict[str, Any]) -> list[Any]:
    lists = [value for value in found.values() if isinstance(value, list)]
    by_column = len(lists) == len(found) > 1 and len({len(value) for value in lists}) == 1
    if by_column and KNOWN & {*map(plain, found)} and not any(isinstance(each, dict) for one in lists for each in one):
        return [dict(zip(found, values, strict=True)) for values in zip(*lists, strict=True)]
    if len(lists) == 1 and lists[0] and all(isinstance(each, dict) for each in lists[0]):
        return lists[0]  # {"version": 1, "data": [...]}
    said = ((name, what) for name, what in found.items() if isinstance(what, str | list | dict))
    return [(what if isinstance(what, dict) else {"text": what}) | {"file": name} for name, what in said]


# ---- comma-separated values


def _cells(text: str) -> Iterator[Parsed]:
    """Rows by column; the first that is not empty is the header, unless it names a file."""
    first, _, rest = text.partition("\n")
    declared = re.fullmatch(r'"?sep=([,;\t|])"?', first.strip("\r \ufeff"), re.IGNORECASE)
    text = rest if declared else text  # written by Excel
    delimiter = declared[1] if declared else max(DELIMITERS, key=lambda one: _fit(text, one))
    rows = _split(text, delimiter)
    first_row = next((cells for _, cells in rows if not isinstance(cells, str) and any(cells)), [])
    header = columns_of(first_row)
    start = 1
    if lacks_header(first_row):
        yield "row 1", dict(zip(header, first_row, strict=True))
    for number, cells in rows:
        start = number
        if isinstance(cells, str):
            yield f"row {start}", cells
        elif len(cells) > len(header) and any(cells[len(header) :]):
            yield f"row {start}", f"has {len(cells)} cells, the header {len(header)}: quote its text"
        elif any(cells):
            yield f"row {start}", dict(zip(header, cells, strict=False))


def columns_of(header: Sequence[str]) -> list[str]:
    """Names of columns, none of them empty or there twice."""
    if lacks_header(header):
        return [f"column {number}" for number in range(1, len(header) + 1)]
    names = [cell.strip(" \"'\t\r\n\ufeff") or f"column {number}" for number, cell in enumerate(header, start=1)]
    seen = Counter[str]()
    for place, name in enumerate(names):
        seen[name] += 1
        if seen[name] > 1:
            names[place] = f"{name} ({seen[name]})"
    return names


def lacks_header(first: Sequence[str]) -> bool:
    """Whether a first row is no header: it names a file, and none of its cells is the name of a usual column."""
    return any(FILE.search(cell.strip()) for cell in first) and not KNOWN & {*map(plain, first)}


def _split(text: str, delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """The rows with their numbers from 1, as a spreadsheet counts them, and what is wrong with one in place of it."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    number = 0
    while True:
        number += 1
        cells: list[str] | str
        usual = csv.field_size_limit(LONGEST_CELL)  # of all readers in this process
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            cells = f"can't be read: {error}"
        finally:
            csv.field_size_limit(usual)
        yield number, cells


def _fit(text: str, delimiter: str) -> tuple[int, int]:
    """How well a delimiter splits a text: known columns, and columns if the first rows have all the same number."""
    found = [cells for _, cells in islice(_split(text, delimiter), SAMPLE) if isinstance(cells, list) and any(cells)]
    if not found:
        return 0, 0
    counts = {len(cells) for cells in found}
    return len({*map(plain, found[0])} & KNOWN), len(found[0]) if len(counts) == 1 else 0


class TextTable:
    """A table in a text file, which is kept in memory as text; rows are made as they are asked for."""

    pictures: Sequence[str] = ()

    def __init__(self, text: str, ending: str) -> None:
        """
        Raises:
            ValueError, RecursionError: it is not JSON.
        """
        self.text, self.ending = text, ending
        self.notes: Sequence[str] = ()
        names: dict[str, None] = {}
        for _, found in islice(parse(text, ending), 1000):
            names |= dict.fromkeys(found if isinstance(found, dict) else ())
        self.columns: Sequence[str] = [str(name) for name in names]

    def rows(self, columns: Sequence[str]) -> Iterator[Row]:
        for number, (label, found) in enumerate(parse(self.text, self.ending)):
            yield Row(number, label, {}, found) if isinstance(found, str) else Row(number, label, found)

    def cell(self, row: Row, column: str, place: int) -> Content:
        raise NotImplementedError  # a text holds no pictures
