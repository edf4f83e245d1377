"""Tables as lines of text: every cell whole, on a terminal wrapped to its width, with hidden characters escaped."""

from __future__ import annotations

import csv
import io
import itertools
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.cells import cell_len

from pipeline.review import spreadsheet
from pipeline.wording import HIDDEN, escaped

GAP = "  "
NARROWEST = 24
"""Columns that the last cell of a row must have left; in a narrower terminal a row is a block of lines."""
AROUND = 20
"""Characters that are shown on either side of a difference."""
UNREADABLE = {"histogram"}
"""Columns that say nothing to a person."""
SHOWN = {"rejected": ["stage", "what", "reason", "detail"], "settings": ["key", "from", "value"]}
"""Columns of a table as text, where these are not all, or in another order; the ids of rejected things are long
hashes."""


# ---- as text


def aligned(
    columns: Sequence[str], rows: Sequence[Sequence[object]], width: int | None, *, headed: bool = True
) -> list[str]:
    """A line per row with its cells in columns.

    Args:
        columns: their names.
        width: of the terminal: the last column is wrapped to it, and where too little is left for that, every row
            becomes a block. None for no limit.
        headed: whether the names stand above the columns.
    """
    cells = [[escaped(str(cell)) for cell in row] for row in ([columns, *rows] if headed else rows)]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    left = sum(widths[:-1]) + len(GAP) * (len(widths) - 1)
    if width is None or left + widths[-1] <= width:
        return [_joined(row, widths) for row in cells]
    if width - left >= NARROWEST:
        return list(itertools.chain.from_iterable(_hanging(row, widths, left, width) for row in cells))
    return list(_blocks(columns, rows, width))


def _blocks(columns: Sequence[str], rows: Sequence[Sequence[object]], width: int) -> Iterator[str]:
    """A line per cell with the column's name before it, and an empty line between rows; values are wrapped."""
    for number, row in enumerate(rows):
        yield from [""] if number else []
        for name, cell in zip(columns, row, strict=True):
            yield from _wrapped(f"{escaped(name)}: {escaped(str(cell))}", width, GAP)


def _joined(row: Sequence[str], widths: Sequence[int]) -> str:
    """The cells with spaces between; a terminal shows some characters two columns wide."""
    padded = [cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
    return GAP.join(padded).rstrip()


def _hanging(row: Sequence[str], widths: Sequence[int], left: int, width: int) -> Iterator[str]:
    """The row with its last cell wrapped below itself; below the whole row where a word of it has no room beside."""
    if max(map(cell_len, row[-1].split()), default=0) > width - left:
        yield _joined([*row[:-1], ""], [*widths[:-1], 0])
        yield from (GAP + line for line in _wrapped(row[-1], width - len(GAP), ""))
        return
    first, *more = _wrapped(row[-1], width - left, "") or [""]
    yield _joined([*row[:-1], first], [*widths[:-1], 0])
    yield from (" " * left + line for line in more)


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    """The text in lines that end between words; a word that is longer than a line stays whole, to be copied."""
    return textwrap.wrap(
        text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, replace_whitespace=False
    )


def as_text(name: str, rows: list[dict[str, Any]], width: int | None) -> list[str]:
    """A table of a run for a person.

    Args:
        width: as for `aligned`.
    """
    if not rows:
        return [f"{name} is empty"]
    if name == "events":
        rows = [row | dict(zip(("was", "becomes"), differing(row["was"], row["becomes"]), strict=True)) for row in rows]
    found = _spread(name, rows)
    columns = SHOWN.get(name) or [column for column in _columns(found) if column not in UNREADABLE]
    cells = [[_cell(row.get(column, "")) for column in columns] for row in found]
    return aligned(columns, cells, width, headed=name != "settings")


def _spread(name: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a table with dictionaries spread over columns (`position.film`); a setting's value stays whole."""
    return rows if name == "settings" else [_flat(row) for row in rows]


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in row.items():
        found |= {f"{key}.{inner}": each for inner, each in _flat(value).items()} if _is_table(value) else {key: value}
    return found


def _is_table(value: object) -> bool:
    return isinstance(value, dict) and bool(value)


def _columns(rows: list[dict[str, Any]]) -> list[str]:
    """All keys of the rows, in order of appearance."""
    return list(dict.fromkeys(key for row in rows for key in row))


def _cell(value: object) -> str:
    if isinstance(value, str):
        return value
    return repr(float(f"{value:.6g}")) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def differing(was: str, becomes: str) -> tuple[str, str]:
    """Two texts without most of what they share at either end, so that a changed word in a long caption stands out."""
    start = _shared(was, becomes)
    end = _shared(was[start:][::-1], becomes[start:][::-1])
    return _cut(was, start, end), _cut(becomes, start, end)


def _shared(a: str, b: str) -> int:
    """How many characters two texts share at their start."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def _cut(text: str, start: int, end: int) -> str:
    """What lies between the shared ends of a text, with AROUND characters of each."""
    first, last = max(start - AROUND, 0), min(len(text) - end + AROUND, len(text))
    return f"'{'...' if first else ''}{text[first:last]}{'...' if last < len(text) else ''}'"


# ---- for other programs


def as_json(rows: list[dict[str, Any]]) -> str:
    """The rows as JSON. What is hidden in a text is escaped in JSON's own way, so that nothing is lost."""
    text = json.dumps(rows, indent=1, ensure_ascii=False)
    return HIDDEN.sub(lambda found: found[0] if found[0] == "\n" else _json_escape(found[0]), text)


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[start : start + 2].hex()}" for start in range(0, len(units), 2))


def as_csv(name: str, rows: list[dict[str, Any]]) -> str:
    """The rows as CSV, a line each, whose texts a spreadsheet leaves as they are (`spreadsheet.guard`)."""
    found = _spread(name, rows)
    columns, buffer = _columns(found), io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(map(_guarded, columns))
    writer.writerows([_guarded(row.get(column)) for column in columns] for row in found)
    return buffer.getvalue()


def _guarded(value: object) -> object:
    """A text so that no spreadsheet acts on it; numbers and truth values are as they are, None is empty."""
    if value is None or isinstance(value, int | float):
        return value
    return spreadsheet.guard(escaped(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))
