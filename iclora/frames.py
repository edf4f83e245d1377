"""A run's tables as pandas frames, and edits in a frame as changes of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pandas as pd

from pipeline.errors import BadInput
from pipeline.records import Row
from pipeline.review import csv_table
from pipeline.review.reviews import Change
from pipeline.review.spreadsheet import Line
from pipeline.task import Task
from pipeline.text.counters import TokenCounter

if TYPE_CHECKING:
    from pipeline.records import Rejected

READ_ONLY = {"id", csv_table.DECIDED_BY, "problems", "picture", "base"}
"""Columns of a table that are neither edited nor scores."""


def rows(found: Sequence[Row], task: Task) -> pd.DataFrame:
    """One row per captioned grid, the riskiest first, with the columns of `captions.csv` and `decided`."""
    columns = csv_table.columns(found, task)
    frame = pd.DataFrame(csv_table.list_entries(found, task), columns=columns, dtype=object)
    for name in set(columns) - READ_ONLY - set(csv_table.edited_columns(task)):
        frame[name] = pd.to_numeric(frame[name], errors="coerce")
    decided = {row.id: row.decided for row in found}
    frame.insert(2, "decided", frame["id"].map(decided).astype(bool))
    return frame


def scores(found: Sequence[Row]) -> pd.DataFrame:
    """One row per grid and score."""
    columns = ["grid", "name", "value", "threshold", "passed", "reason"]
    entries = [{"grid": row.id, **asdict(score)} for row in found for score in row.scores]
    return pd.DataFrame(entries, columns=columns)


def rejected(found: Sequence[tuple[str, Rejected]]) -> pd.DataFrame:
    """One row per rejection.

    Args:
        found: each with the stage that rejected it.
    """
    columns = ["stage", "id", "what", "reason", "detail"]
    return pd.DataFrame([{"stage": stage, **asdict(row)} for stage, row in found], columns=columns)


def unmatched(found: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row per decision that fits no grid, or no picture."""
    columns = ["grid", "decision", "note", "caption", "panels", "crops", "corrections", "who", "reviewer", "at", "why"]
    return pd.DataFrame(found, columns=columns)


def find_changes(
    frame: pd.DataFrame, found: Sequence[Row], task: Task, counter: TokenCounter, reviewer: str = ""
) -> list[Change]:
    """What a frame with a column `id` changes. Rows and columns that it lacks stay as they are.

    Args:
        reviewer: whose frame it is; empty if they gave no name.

    Raises:
        BadInput: the frame has no ids, or rows are in doubt; every doubt is named with row and column.
    """
    given = frame.reset_index() if frame.index.name == "id" else frame
    if "id" not in given.columns:
        raise BadInput(f"the frame has no column 'id' (it has {', '.join(map(str, given.columns))}); take run.rows().")
    known = {entry["id"]: entry for entry in csv_table.list_entries(found, task)}
    names = [name for name in ("id", *csv_table.edited_columns(task), "base") if name in given.columns]
    blank = dict.fromkeys(("id", *csv_table.edited_columns(task), "base"), "")
    entries = []
    for values in given[names].itertuples(index=False):
        cells = {name: "" if pd.isna(value) else str(value) for name, value in zip(names, values, strict=True)}
        entries.append(blank | known.get(cells["id"], {}) | cells)
    met = {entry["id"] for entry in entries}
    entries += [entry for entry in known.values() if entry["id"] not in met]
    lines = [Line(number, csv_table.guarded(entry, task)) for number, entry in enumerate(entries, start=1)]
    return csv_table.find_changes(lines, "the frame", found, task, counter, reviewer)
