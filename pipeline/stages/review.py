"""A person's last word: `captions.csv` out and in.

The table is written so that spreadsheets leave it alone (every cell quoted, UTF-8 with BOM, one line a cell, ids of
letters, text that looks like a formula guarded) and read back whatever they made of it (other delimiters, UTF-16, BOM
in the header, rows in another order, further columns). Only decision, caption, panel texts and note are read, by id.
Nothing is applied while any row is in doubt.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from pipeline import grammar, reviews
from pipeline.errors import BadInput
from pipeline.records import Row
from pipeline.reviews import Change
from pipeline.task import Task

FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""Cells that a spreadsheet would run; they get an apostrophe in front, and so do cells that begin with one already."""


# ---- out


def write_csv(found: Sequence[Row], task: Task, path: Path) -> None:
    """One row a grid: id, decision, caption, one column a panel text, note, scores, problems, picture, base."""
    names = list(dict.fromkeys(score.name for row in found for score in row.scores))
    panels = [f"panel_{number}" for number in range(1, len(task.markers) + 1)]
    columns = ["id", "decision", "caption", *panels, "note", *names, "problems", "picture", "base"]
    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(columns)
    for row in found:
        values = {score.name: f"{score.value:.4f}" for score in row.scores}
        texts = [row.caption.text, *row.caption.panels, row.review.note if row.review else ""]
        problems = "; ".join((*row.reasons, *row.caption.problems))
        cells = [*map(guard, texts), *(values.get(name, "") for name in names), guard(problems), row.grid.path]
        writer.writerow([row.id, row.decision, *cells, reviews.base(row)])
    part = path.with_suffix(".part")
    part.write_bytes(b"\xef\xbb\xbf" + buffer.getvalue().encode())
    part.replace(path)


def guard(text: str) -> str:
    return f"'{text}" if FORMULA.match(text) else text


def unguard(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


# ---- in


def read_csv(path: Path, found: Sequence[Row], task: Task) -> list[Change]:
    """What a person has changed in the table.

    Raises:
        BadInput: the file can't be read as a table, or rows are in doubt; every doubt is named with row and column.
    """
    header, lines = _table(path)
    by_id = {row.id: row for row in found}
    doubts: list[str] = []
    changes: list[Change] = []
    met: set[str] = set()
    for number, cells in enumerate(lines, start=2):
        entry = {name: unguard(cell.strip()) for name, cell in zip(header, cells, strict=False)}
        row = by_id.get(entry["id"])
        if row is None:
            doubts.append(f"row {number}, id: '{entry['id']}' is no grid of this run")
        elif row.id in met:
            doubts.append(f"row {number}, id: {row.id} stands twice")
        else:
            met.add(row.id)
            try:
                change = _change(row, entry, task)
            except BadInput as error:
                doubts.append(f"row {number}, {error}")
            else:
                changes += [change] if change else []
    if missing := [row_id for row_id in by_id if row_id not in met]:
        doubts.append(f"{len(missing)} grids have no row: {', '.join(missing[:5])}")
    if doubts:
        raise BadInput(f"nothing was applied from {path}; {'; '.join(doubts)}.")
    return changes


def _change(row: Row, entry: dict[str, str], task: Task) -> Change | None:
    word = entry["decision"].casefold() or row.decision
    decision = next((known for known in reviews.DECISIONS if known == word), None)
    if decision is None:
        raise BadInput(f"decision: '{entry['decision']}' is none of {', '.join(reviews.DECISIONS)}")
    made = reviews.change(row, task, decision=decision, text=_text(row, entry, task), note=entry.get("note", ""))
    if made and entry.get("base", reviews.base(row)) != reviews.base(row):
        raise BadInput("base: the row has changed in the run since this table was written, write it again first")
    return made


def _text(row: Row, entry: dict[str, str], task: Task) -> str:
    """The caption as edited, as a whole or by panels; both at once only where they agree."""
    whole = grammar.fold(entry["caption"])
    panels = {
        panel: grammar.clean(entry.get(f"panel_{panel + 1}", old)) for panel, old in enumerate(row.caption.panels)
    }
    edited = {panel: text for panel, text in panels.items() if text != row.caption.panels[panel]}
    if whole == row.caption.text:
        return reviews.with_panels(row, edited, task)
    told = grammar.parse(whole, task).panels
    for panel, text in edited.items():
        if text and told[panel] != text:
            raise BadInput(f"panel_{panel + 1}: differs from the caption, which was edited too; change one only")
        if not text:
            raise BadInput(f"panel_{panel + 1}: is empty")
    return whole


def _table(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and lines of a table, whatever program saved it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} can't be read: {error.strerror}; give the path of a captions.csv.") from error
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is neither UTF-8 nor UTF-16 ({error}); save it as CSV in UTF-8.") from error
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    table = [line for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(line)]
    if not table:
        raise BadInput(f"{path} is empty.")
    header = [cell.strip("\ufeff \"'").casefold() for cell in table[0]]
    for column in ("id", "decision", "caption"):
        if header.count(column) != 1:
            raise BadInput(f"{path} has {header.count(column)} columns named '{column}', it needs one.")
    for number, line in enumerate(table[1:], start=2):
        if len(line) != len(header):
            raise BadInput(f"{path} row {number} has {len(line)} cells, the header {len(header)}; was a text cut?")
    return header, table[1:]
