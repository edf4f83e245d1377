"""A run's rows by the answers that made them, and tables in which cells of one were edited."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from iclora.run import Run
from pipeline.records import Parts, Row
from pipeline.review.reviews import Change


def row(run: Run, number: int) -> Row:
    """The row of an answer."""
    return run.reviewed()[number]


def parts(row: Row) -> Parts:
    assert row.caption.parts
    return row.caption.parts


def table(run: Run) -> list[dict[str, str]]:
    run.write_review()
    text = (run.folder / "captions.csv").read_text(encoding="utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def write(run: Run, lines: list[dict[str, str]]) -> Path:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, list(lines[0]), quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(lines)
    path = run.folder / "edited.csv"
    path.write_text(buffer.getvalue(), encoding="utf-8", newline="")
    return path


def apply(run: Run, number: int, **cells: str) -> list[Change]:
    """Applies a table in which some cells of an answer's row were edited."""
    grid = row(run, number).id
    lines = [line | cells if line["id"] == grid else line for line in table(run)]
    return run.apply(write(run, lines))
