"""A `run.db` of an earlier version: what people said is taken from it, and it is set aside to be derived again."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from iclora.settings import Settings
from pipeline.errors import BadInput
from pipeline.records import Review
from pipeline.review import decisions
from pipeline.review.decisions import Change, Line
from pipeline.store import DATABASE, SETTINGS, is_current, is_damaged, locked, read_settings, working, write_settings

OURS = {"records", "grids", "rejected", "stages"}
"""Tables that a `run.db` of any version has."""
SAID = {"settings", "reviews", "events"}
"""Tables of versions before `decisions.jsonl`."""
WHO = "an earlier version"


def settings_of(folder: Path) -> dict[str, Any] | None:
    """What the run in a folder was asked for, by whatever version; None if there is no run.

    Raises:
        BadInput: that can't be read.
    """
    known = read_settings(folder)
    return known if known is not None else _said(folder)[0]


def carry_over(folder: Path) -> Path | None:
    """If the folder has a `run.db` of another version, or a damaged one, moves it aside, so that it is derived again.

    What people said in it goes into the files beside it first. A database that is not a run's is left alone.

    Returns:
        Where it is now; None if there is nothing to move.

    Raises:
        BadInput: another process is at work in the run, or a file can't be read or written.
    """
    try:
        if is_current(folder) or not _is_ours(folder):
            return None
        with locked(folder / "opening.lock", 60), working(folder):
            if is_current(folder) or not _is_ours(folder):  # another process was faster
                return None
            asked, lines = _said(folder)
            with decisions.deciding(folder):
                known = set(decisions.read(folder).lines)  # all of them if this was cut off before
                decisions.append(folder, [line for line in lines if line not in known])
            if asked is not None and read_settings(folder) is None:
                write_settings(folder, asked)
            return _move(folder)
    except (OSError, sqlite3.Error) as error:
        raise BadInput(
            f"{folder / DATABASE} is damaged or was made by another version of iclora, and can't be moved ({error}); "
            "wait if another process is at work in it, and type the same again."
        ) from error


def _move(folder: Path) -> Path:
    names = (f"run.earlier-{number}.db" for number in itertools.count(1))
    target = folder / next(name for name in names if not (folder / name).exists())
    for ending in ("-wal", "-shm"):  # of a damaged file: the others have none when they are closed
        if (beside := folder / f"{DATABASE}{ending}").exists():
            beside.rename(target.with_name(f"{target.name}{ending}"))
    return (folder / DATABASE).rename(target)


def _is_ours(folder: Path) -> bool:
    """Whether there is a run's database, if perhaps a damaged one, in the folder."""
    file = folder / DATABASE
    if not file.is_file() or not file.stat().st_size:
        return False
    try:
        return _tables(file) >= OURS or (folder / SETTINGS).exists()
    except sqlite3.DatabaseError as error:
        if not is_damaged(error):
            raise
        return (folder / SETTINGS).exists()


def _tables(file: Path) -> set[str]:
    with closing(sqlite3.connect(file)) as db:
        return {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


def _said(folder: Path) -> tuple[dict[str, Any] | None, list[Line]]:
    """Settings and decisions in a `run.db` of a version that kept them there."""
    file = folder / DATABASE
    try:
        if not file.is_file() or not _tables(file) >= OURS | SAID:
            return None, []
        with closing(sqlite3.connect(file)) as db:
            row = db.execute("SELECT body FROM settings").fetchone()
            return (_asked(json.loads(row[0])) if row else None), _lines(db)
    except sqlite3.DatabaseError as error:
        if not is_damaged(error):
            raise BadInput(f"{file} can't be read ({error}); free it and type the same again.") from error
        return None, []


def _asked(found: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of an earlier version as today's."""
    usual = Settings(task="").model_dump(mode="json")
    asked = {name: value for name, value in found.items() if name in usual and value != usual[name] and value}
    if found.get("fixed"):
        asked["overrides"] = [*asked.get("overrides", ()), "filter.fixed=true"]
    return asked


def _lines(db: sqlite3.Connection) -> list[Line]:
    """Lines for all that people decided: one for everything that somebody changed about a grid at one time."""
    panels = _panels(db)
    reviews = {
        grid: TypeAdapter(Review).validate_json(body) for grid, body in db.execute("SELECT id, body FROM reviews")
    }
    acts: dict[str, list[Line]] = {}
    for at, grid, who, *change in db.execute("SELECT at, grid, who, field, was, becomes FROM events ORDER BY rowid"):
        made = acts.setdefault(grid, [])
        if not made or (made[-1].at, made[-1].who) != (at, who):
            made.append(Line(at, who, grid, panels.get(grid, ()), decides=False))
        made[-1] = replace(made[-1], changed=(*made[-1].changed, Change(*change)))
    for grid in reviews:
        acts.setdefault(grid, [Line("", WHO, grid, panels.get(grid, ()))])
    for grid, made in acts.items():
        made[-1] = replace(made[-1], review=reviews.get(grid), decides=True)
    return [line for made in acts.values() for line in made]


def _panels(db: sqlite3.Connection) -> dict[str, tuple[str, ...]]:
    """By grid, the ids of its records; the last release had whole records in a grid's row, later versions have ids."""
    groups = {group: json.loads(body)["records"] for group, body in db.execute("SELECT id, body FROM groups")}
    found = {}
    for grid, body in db.execute("SELECT id, body FROM grids"):
        group = json.loads(body)["group"]
        records = groups.get(group, []) if isinstance(group, str) else group["records"]
        found[grid] = tuple(record if isinstance(record, str) else record["id"] for record in records)
    return found
