"""A run's state: one SQLite file and a cache by content. What is done, kept and rejected, and why.

runs/<task>/run.db    tables of the line, rejected rows with reasons, people's reviews, and the stages' marks
runs/<task>/cache/    vectors and raw replies, keyed by everything that they depend on
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import TypeAdapter

from pipeline.cache import Cache
from pipeline.errors import BadInput
from pipeline.plugins import suggest
from pipeline.records import (
    Appearance,
    Caption,
    Exported,
    Grid,
    Group,
    Layout,
    Parts,
    Person,
    Position,
    Record,
    Rejected,
    Review,
    Score,
    Scores,
    Shown,
    Tie,
)

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

SCHEMA = "".join(f"CREATE TABLE {table} (id TEXT PRIMARY KEY, body TEXT NOT NULL);\n" for table in TABLES)
SCHEMA += """
CREATE TABLE rejected (stage TEXT, id TEXT, what TEXT, reason TEXT, detail TEXT, PRIMARY KEY (stage, id));
CREATE TABLE reviews (id TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE settings (id INTEGER PRIMARY KEY CHECK (id = 1), body TEXT NOT NULL);
CREATE TABLE events (at TEXT, grid TEXT, who TEXT, field TEXT, was TEXT, becomes TEXT);
CREATE TABLE stages
    (name TEXT PRIMARY KEY, fingerprint TEXT, done INTEGER, entered INTEGER, kept INTEGER, seconds REAL, facts TEXT);
"""

PARTS = (Appearance, Parts, Person, Shown, Tie)
TYPES = (Caption, *PARTS, Exported, Grid, Group, Layout, Position, Record, Review, Score, Scores)
VERSION = zlib.crc32(repr([SCHEMA, *([(f.name, f.type) for f in fields(kind)] for kind in TYPES)]).encode()) >> 1
"""What `PRAGMA user_version` says of a file that this code can read: a hash of tables and types, so that nobody has to
think of raising a number. SQLite has 31 bits for it."""

UPSERT = "INSERT INTO {} VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body"
"""A row that is written again keeps its place, so a table's order is that of the first writing."""


def usual_folder(task: str) -> Path:
    """Where a task's run is kept when no folder is named."""
    return Path("runs") / Path(task).stem.replace("_", "-")


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
        """
        Raises:
            BadInput: no run can be kept or read there; the message says why.
        """
        self.folder = folder
        with self._explained():
            folder.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(folder / "run.db", isolation_level=None)
        try:
            with self._explained():
                self._prepare()
        except BaseException:
            self._db.close()
            raise
        self.cache = Cache(folder / "cache")
        self._at_work = False

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def _prepare(self) -> None:
        """Makes the tables in a new file; an old or foreign one is left as it is."""
        if self._version() == (0, False):
            # One process at a time: the change to WAL fails at once where another holds the file, it does not wait.
            with closing(sqlite3.connect(self.folder / "opening.lock", isolation_level=None, timeout=60)) as lock:
                lock.execute("BEGIN EXCLUSIVE")
                if self._version() == (0, False):  # else another process was faster
                    self._make()
        if self._version() != (VERSION, True):
            raise BadInput(
                f"{self.folder / 'run.db'} was not made by this version of iclora; name another folder with --out, "
                "or move that file away and run again (answers that were paid for stay in cache)."
            )

    def _make(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        with self._transaction() as db:
            for statement in SCHEMA.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version={VERSION}")

    def _version(self) -> tuple[int, bool]:
        """The file's version, and whether it has tables."""
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        return version, bool(self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What SQLite or the disk refuses, as a sentence."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise BadInput(
                f"the run in {self.folder} can't be read or written ({error}); "
                "free the disk or the file and type the same again, or name another folder with --out."
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        if self._db.in_transaction:  # part of a longer one
            yield self._db
            return
        with self._explained():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk makes SQLite roll back by itself
                    self._db.execute("ROLLBACK")
                raise

    def _read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._explained():
            return self._db.execute(query, values).fetchall()

    # ---- stages: begin, one transaction a batch, finish

    @contextmanager
    def working(self) -> Iterator[None]:
        """Only one process at a time works on a run; others may look at it. May be nested.

        The lock is SQLite's own on a file of its own: the system releases it when the process ends, however it ends.

        Raises:
            BadInput: another process is working on the run.
        """
        if self._at_work:
            yield
            return
        with closing(sqlite3.connect(self.folder / "working.lock", isolation_level=None, timeout=0)) as lock:
            try:
                lock.execute("BEGIN EXCLUSIVE")
            except sqlite3.Error as error:
                raise BadInput(
                    f"another process is at work in {self.folder} ({error}); "
                    "wait for it, or name another folder with --out."
                ) from error
            self._at_work = True
            try:
                yield
            finally:
                self._at_work = False

    def mark(self, stage: str) -> Mark | None:
        rows = self._read("SELECT * FROM stages WHERE name = ?", stage)
        if not rows:
            return None
        name, fingerprint, done, entered, kept, seconds, facts = rows[0]
        return Mark(name, fingerprint, bool(done), entered, kept, seconds, json.loads(facts))

    def begin(self, stage: str, table: str, fingerprint: str, *, anew: bool) -> None:
        """Starts a stage, or goes on with one of the same fingerprint unless it is to start anew; old rows go then."""
        mark = self.mark(stage)
        if mark and mark.fingerprint == fingerprint and not anew:
            return
        with self._transaction() as db:
            db.execute(f"DELETE FROM {table}")
            db.execute("DELETE FROM rejected WHERE stage = ?", (stage,))
            db.execute("INSERT OR REPLACE INTO stages VALUES (?, ?, 0, 0, 0, 0, '{}')", (stage, fingerprint))

    def add(self, stage: str, table: str, items: Iterable[Item], rejected: Iterable[Rejected], seconds: float) -> None:
        """Writes one batch of a stage, all of it or nothing."""
        with self._transaction() as db:
            rows = [(item.id, ADAPTERS[type(item)].dump_json(item).decode()) for item in items]
            db.executemany(UPSERT.format(table), rows)
            db.executemany(
                "INSERT OR REPLACE INTO rejected VALUES (?, ?, ?, ?, ?)",
                [(stage, row.id, row.what, row.reason, row.detail) for row in rejected],
            )
            db.execute("UPDATE stages SET seconds = seconds + ? WHERE name = ?", (seconds, stage))

    def finish(self, stage: str, *, entered: int, kept: int, facts: dict[str, Any]) -> None:
        """Sets the stage's mark, last of all: from now on it is done."""
        with self._transaction() as db:
            db.execute(
                "UPDATE stages SET done = 1, entered = ?, kept = ?, facts = ? WHERE name = ?",
                (entered, kept, json.dumps(facts), stage),
            )

    def count(self, table: str) -> int:
        return int(self._read(f"SELECT count(*) FROM {table}")[0][0])

    def counts(self) -> dict[str, int]:
        """Rows of every table."""
        return {table: self.count(table) for table in (*TABLES, *OTHER_TABLES)}

    def digest(self, table: str) -> str:
        """Hash of a table's content in order: what the next stage's fingerprint rests on."""
        state = hashlib.sha256()
        for row in self._read(f"SELECT body FROM {table} ORDER BY rowid"):
            state.update(row[0].encode() + b"\n")
        return state.hexdigest()

    # ---- reading

    def items(self, kind: type[T], table: str) -> list[T]:
        adapter: TypeAdapter[T] = ADAPTERS[kind]
        return [adapter.validate_json(row[0]) for row in self._read(f"SELECT body FROM {table} ORDER BY rowid")]

    def rejected(self, stage: str) -> list[Rejected]:
        query = "SELECT id, what, reason, detail FROM rejected WHERE stage = ? ORDER BY rowid"
        return [Rejected(*row) for row in self._read(query, stage)]

    def table(self, name: str) -> list[dict[str, Any]]:
        """Any table as plain dictionaries, for printing.

        Raises:
            BadInput: no such table.
        """
        tables = [*TABLES, *OTHER_TABLES]
        if name not in tables:
            raise BadInput(f"no table named '{name}'{suggest(name, tables)} (known: {', '.join(tables)}).")
        columns = [row[0] for row in self._read("SELECT name FROM pragma_table_info(?)", name)]
        found = [dict(zip(columns, row, strict=True)) for row in self._read(f"SELECT * FROM {name} ORDER BY rowid")]
        return [json.loads(row["body"]) if "body" in row else row for row in found]

    # ---- what the run was asked for, and people's decisions

    def settings(self) -> dict[str, Any] | None:
        rows = self._read("SELECT body FROM settings")
        return dict(json.loads(rows[0][0])) if rows else None

    def put_settings(self, settings: dict[str, Any]) -> None:
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO settings VALUES (1, ?)", (json.dumps(settings),))

    @contextmanager
    def deciding(self) -> Iterator[None]:
        """Between what is read in it and what is written in it nobody else decides anything."""
        with self._transaction():
            yield

    def review(
        self,
        reviews: Sequence[Review],
        changes: Iterable[tuple[str, str, str, str]],
        who: str,
        withdrawn: Sequence[str] = (),
    ) -> None:
        """Writes decisions together with what changed: (grid, field, was, becomes).

        Args:
            withdrawn: grids on which nobody has decided any more.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self._transaction() as db:
            rows = [(review.id, ADAPTERS[Review].dump_json(review).decode()) for review in reviews]
            db.executemany(UPSERT.format("reviews"), rows)
            db.executemany("DELETE FROM reviews WHERE id = ?", [(grid,) for grid in withdrawn])
            db.executemany(
                "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)",
                [(now, grid, who, field, was, becomes) for grid, field, was, becomes in changes],
            )
