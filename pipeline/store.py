"""A run's state: one SQLite file and a cache by content. What is done, kept and rejected, and why.

runs/<task>/run.db    tables of the line, rejected rows with reasons, people's reviews, and the stages' marks
runs/<task>/cache/    vectors and raw replies, keyed by everything that they depend on
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import TypeAdapter

from pipeline.cache import Cache
from pipeline.errors import BadInput
from pipeline.records import Caption, Exported, Grid, Group, Record, Rejected, Review, Scores

TABLES: dict[str, type] = {
    "collected": Record,
    "records": Record,
    "groups": Group,
    "grids": Grid,
    "captions": Caption,
    "scores": Scores,
    "exported": Exported,
}
"""Table of each stage's output and the type of its rows."""

OTHER_TABLES = ("rejected", "reviews", "events", "stages")

SCHEMA = "".join(f"CREATE TABLE IF NOT EXISTS {table} (id TEXT PRIMARY KEY, body TEXT NOT NULL);\n" for table in TABLES)
SCHEMA += """
CREATE TABLE IF NOT EXISTS rejected
    (stage TEXT, id TEXT, what TEXT, reason TEXT, detail TEXT, PRIMARY KEY (stage, id));
CREATE TABLE IF NOT EXISTS reviews (id TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS settings (id INTEGER PRIMARY KEY CHECK (id = 1), body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS events (at TEXT, grid TEXT, who TEXT, field TEXT, was TEXT, becomes TEXT);
CREATE TABLE IF NOT EXISTS stages
    (name TEXT PRIMARY KEY, fingerprint TEXT, done INTEGER, entered INTEGER, kept INTEGER, seconds REAL, facts TEXT);
"""


class Keyed(Protocol):
    """What a stage takes in: anything with an id."""

    @property
    def id(self) -> str: ...


class Item(Keyed, Protocol):
    """What a stage puts out: an id, and the ids of the inputs that it comes from."""

    @property
    def origin(self) -> tuple[str, ...]: ...


T = TypeVar("T")


@dataclass(frozen=True)
class Mark:
    """How far a stage has come; `facts` are what it wants to tell (models, thresholds)."""

    name: str
    fingerprint: str
    done: bool
    entered: int
    kept: int
    seconds: float
    facts: dict[str, Any]


ADAPTERS: dict[type, TypeAdapter[Any]] = {kind: TypeAdapter(kind) for kind in {*TABLES.values(), Review}}


class Store:
    """Opens or makes the run in a folder. Use as a context manager; not for several threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(folder / "run.db", isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.executescript(SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise BadInput(f"no run can be kept in {folder}: {error}; choose another folder with --out.") from error
        self.cache = Cache(folder / "cache")

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with closing(self._db.cursor()):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    # ---- stages: begin, one transaction a batch, finish

    def mark(self, stage: str) -> Mark | None:
        row = self._db.execute("SELECT * FROM stages WHERE name = ?", (stage,)).fetchone()
        return Mark(row[0], row[1], bool(row[2]), row[3], row[4], row[5], json.loads(row[6])) if row else None

    def begin(self, stage: str, table: str, fingerprint: str) -> None:
        """Starts a stage, or goes on with it where the fingerprint is the same; else its old rows go."""
        mark = self.mark(stage)
        if mark and mark.fingerprint == fingerprint:
            return
        with self._transaction() as db:
            db.execute(f"DELETE FROM {table}")
            db.execute("DELETE FROM rejected WHERE stage = ?", (stage,))
            db.execute("INSERT OR REPLACE INTO stages VALUES (?, ?, 0, 0, 0, 0, '{}')", (stage, fingerprint))

    def add(self, stage: str, table: str, items: Iterable[Item], rejected: Iterable[Rejected], seconds: float) -> None:
        """Writes one batch of a stage, all of it or nothing."""
        with self._transaction() as db:
            for item in items:
                body = ADAPTERS[type(item)].dump_json(item).decode()
                db.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", (item.id, body))
            db.executemany(
                "INSERT OR REPLACE INTO rejected VALUES (?, ?, ?, ?, ?)",
                [(stage, row.id, row.what, row.reason, row.detail) for row in rejected],
            )
            db.execute("UPDATE stages SET seconds = seconds + ? WHERE name = ?", (seconds, stage))

    def finish(self, stage: str, *, entered: int, kept: int, facts: dict[str, Any]) -> None:
        """Sets the stage's mark, last of all: from now on it is done."""
        self._db.execute(
            "UPDATE stages SET done = 1, entered = ?, kept = ?, facts = ? WHERE name = ?",
            (entered, kept, json.dumps(facts), stage),
        )

    def count(self, table: str) -> int:
        return int(self._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    def counts(self) -> dict[str, int]:
        """Rows of every table."""
        return {table: self.count(table) for table in (*TABLES, *OTHER_TABLES)}

    def digest(self, table: str) -> str:
        """Hash of a table's content in order: what the next stage's fingerprint rests on."""
        state = hashlib.sha256()
        for row in self._db.execute(f"SELECT body FROM {table} ORDER BY rowid"):
            state.update(row[0].encode() + b"\n")
        return state.hexdigest()

    # ---- reading

    def items(self, kind: type[T], table: str) -> list[T]:
        adapter: TypeAdapter[T] = ADAPTERS[kind]
        rows = self._db.execute(f"SELECT body FROM {table} ORDER BY rowid")
        return [adapter.validate_json(row[0]) for row in rows]

    def rejected(self, stage: str) -> list[Rejected]:
        query = "SELECT id, what, reason, detail FROM rejected WHERE stage = ? ORDER BY rowid"
        return [Rejected(*row) for row in self._db.execute(query, (stage,))]

    def table(self, name: str) -> list[dict[str, Any]]:
        """Any table as plain dictionaries, for printing.

        Raises:
            BadInput: no such table.
        """
        tables = [*TABLES, *OTHER_TABLES]
        if name not in tables:
            raise BadInput(f"no table named '{name}'; known: {', '.join(tables)}.")
        cursor = self._db.execute(f"SELECT * FROM {name} ORDER BY rowid")
        columns = [column[0] for column in cursor.description]
        found = [dict(zip(columns, row, strict=True)) for row in cursor]
        return [json.loads(row["body"]) if "body" in row else row for row in found]

    # ---- what the run was asked for, and people's decisions

    def settings(self) -> dict[str, Any] | None:
        row = self._db.execute("SELECT body FROM settings").fetchone()
        return dict(json.loads(row[0])) if row else None

    def put_settings(self, settings: dict[str, Any]) -> None:
        self._db.execute("INSERT OR REPLACE INTO settings VALUES (1, ?)", (json.dumps(settings),))

    def review(self, reviews: Sequence[Review], changes: Iterable[tuple[str, str, str, str]], who: str) -> None:
        """Writes decisions together with what changed: (grid, field, was, becomes)."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self._transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO reviews VALUES (?, ?)",
                [(review.grid, json.dumps(asdict(review), ensure_ascii=False)) for review in reviews],
            )
            db.executemany(
                "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)",
                [(now, grid, who, field, was, becomes) for grid, field, was, becomes in changes],
            )
