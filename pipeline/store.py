"""A run's state, one SQLite file and a cache by content: what is done, what was kept or rejected, and why.

runs/<task>/run.db              the line's tables, rejected rows with reasons, and the stages' marks
runs/<task>/cache/              vectors and raw replies, keyed by everything that they depend on
runs/<task>/run.settings.json   what the run was asked for
runs/<task>/working.lock        held by the one process that works on the run, of which working.json tells

`run.db` can be deleted: it is derived again. What people say lies beside it: the settings, and the decisions
(`pipeline.review.decisions`).
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sqlite3
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import TypeAdapter

from pipeline import files, garbage, wording
from pipeline.cache import Cache
from pipeline.errors import BadInput
from pipeline.plugins import suggest
from pipeline.records import (
    Appearance,
    Caption,
    Corrections,
    Exported,
    Grid,
    Group,
    Layout,
    Parts,
    Person,
    Position,
    Record,
    Rejected,
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

REFERENCES: dict[type, tuple[str, str]] = {Group: ("records", "records"), Grid: ("group", "groups")}
"""Which field of a type holds things that have rows of their own, and in which table: the field's row has their ids."""

OTHER_TABLES = ("rejected", "stages")

SCHEMA = "".join(f"CREATE TABLE {table} (id TEXT PRIMARY KEY, body TEXT NOT NULL);\n" for table in TABLES)
SCHEMA += """
CREATE TABLE rejected (stage TEXT, id TEXT, what TEXT, reason TEXT, detail TEXT, picture TEXT, PRIMARY KEY (stage, id));
CREATE TABLE seen (stage TEXT, id TEXT, hash TEXT, PRIMARY KEY (stage, id));
CREATE TABLE stages
    (name TEXT PRIMARY KEY, fingerprint TEXT, done INTEGER, entered INTEGER, kept INTEGER, seconds REAL, facts TEXT);
"""

PARTS = (Appearance, Corrections, Parts, Person, Shown, Tie)
TYPES = (Caption, *PARTS, Exported, Grid, Group, Layout, Position, Record, Score, Scores)
SHAPE = [[(field.name, field.type) for field in fields(kind)] for kind in TYPES]
REFERRED = [(kind.__name__, *where) for kind, where in REFERENCES.items()]
VERSION = zlib.crc32(repr([SCHEMA, REFERRED, *SHAPE]).encode()) >> 1
"""`PRAGMA user_version` of a file that this code can read: a hash of tables and types, so that nobody has to remember
to raise a number. SQLite has 31 bits for it."""

UPSERT = "INSERT INTO {} VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body"
"""A row that is written again keeps its place, so a table is in the order in which its rows were first written."""

MOST_SETTINGS = 1 << 24
"""Bytes of a run's settings."""
DATABASE, SETTINGS = "run.db", "run.settings.json"
"""Either of them marks a folder as a run's."""
HOLDER = "working.json"
"""Who is at work on a run, for as long as it is."""
MOST_OF_HOLDER = 1 << 16
"""Bytes of that file."""


def usual_folder(task: str) -> Path:
    """Where a task's run is kept if no folder is named."""
    return Path("runs") / Path(task).stem.replace("_", "-")


# ---- files of a run


def read_settings(folder: Path) -> dict[str, Any] | None:
    """What the run in a folder was asked for; None if it has not been asked for anything yet.

    Raises:
        BadInput: the file can't be read.
    """
    file = folder / SETTINGS
    try:
        found = json.loads(files.read(file, MOST_SETTINGS))
    except FileNotFoundError:
        return None
    except NotADirectoryError as error:
        raise BadInput(f"{folder} is a file and no run's folder; name a folder.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(
            f"{file} can't be read ({error}); correct it, or delete it and give the options again."
        ) from error
    if not isinstance(found, dict):
        raise BadInput(f"{file} holds no settings; delete it and give the options again.")
    return found


def write_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Keeps what the run in a folder is asked for.

    Raises:
        BadInput: the file can't be written.
    """
    file, content = folder / SETTINGS, (json.dumps(settings, indent=1, ensure_ascii=False) + "\n").encode()
    try:
        if not file.exists() or file.read_bytes() != content:
            folder.mkdir(parents=True, exist_ok=True)
            files.write(file, content)
    except OSError as error:
        raise BadInput(
            f"{file} can't be written ({error.strerror or error}); make room and type the same again."
        ) from error


@contextmanager
def locked(file: Path, seconds: float) -> Iterator[None]:
    """Holds a lock, for which it waits so long. The lock is SQLite's own on a file of its own: the system releases it
    when the process ends, however it ends.

    Raises:
        sqlite3.Error: another process holds it.
    """
    with closing(sqlite3.connect(file, isolation_level=None, timeout=seconds)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        yield


@dataclass(frozen=True)
class Holder:
    """The process that is at work on a run."""

    process: int
    host: str
    command: str
    since: str
    """When it began, in UTC as ISO 8601."""

    @classmethod
    def of_this_process(cls) -> Holder:
        script, *words = sys.argv or [""]
        name = Path(script).parent.name if script.endswith("__main__.py") else Path(script).name
        since = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(os.getpid(), socket.gethostname(), wording.command([name or "python", *words]), since)

    @property
    def is_dead(self) -> bool:
        """Whether it is known to have ended; nothing is known of processes of other hosts."""
        return self.host == socket.gethostname() and not files.is_running(self.process)

    def __str__(self) -> str:
        since = self.since.replace("T", " ").replace("+00:00", " UTC")
        return f"'{self.command}', process {self.process} on {self.host}, since {since}"


@contextmanager
def working(folder: Path, option: str = "--out") -> Iterator[None]:
    """Only one process at a time works in the folder of a run, a training or an evaluation; others may look at it.

    Args:
        option: that names another folder; empty if there is no other.

    Raises:
        BadInput: another process is at work there, or the file system has no locks; the message says who and since
            when.
    """
    with ExitStack() as held:
        try:
            held.enter_context(locked(folder / "working.lock", 0))
        except sqlite3.Error as error:
            raise BadInput(_unlockable(folder, error, option)) from error
        with suppress(OSError):  # it only tells others; the lock is what keeps them out
            (folder / HOLDER).write_text(json.dumps(asdict(Holder.of_this_process())), encoding="utf-8")
        try:
            yield
        finally:
            with suppress(OSError):
                (folder / HOLDER).unlink(missing_ok=True)


def _unlockable(folder: Path, error: sqlite3.Error, option: str) -> str:
    """Why nobody can work in a folder now."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY:
        elsewhere = f"name a folder with {option}" if option else "move its run"
        return (
            f"{folder / 'working.lock'} can't be locked ({error}); {elsewhere} on a file system with locks, in which "
            "you may write."
        )
    holder = _holder(folder)
    who = f": {holder}" if holder else ""
    elsewhere = f", or name another folder with {option}" if option else ""
    return f"another process is at work in {folder}{who}; wait for it{elsewhere}."


def _holder(folder: Path) -> Holder | None:
    """Who says that it is at work in a folder; None if nobody does, or a process that has died since."""
    try:
        holder = Holder(**json.loads(files.read(folder / HOLDER, MOST_OF_HOLDER)))
        return None if holder.is_dead else holder
    except (OSError, ValueError, TypeError):
        return None


def is_current(folder: Path) -> bool:
    """Whether the folder has a `run.db` of this version; if not, it is to be derived.

    Raises:
        BadInput: it can't be read now.
    """
    file = folder / DATABASE
    if not file.is_file() or not file.stat().st_size:
        return False
    try:
        with closing(sqlite3.connect(file)) as db:
            return bool(db.execute("PRAGMA user_version").fetchone()[0] == VERSION)
    except sqlite3.DatabaseError as error:
        if is_damaged(error):
            return False
        raise BadInput(f"{file} can't be read ({error}); free it and type the same again.") from error


def is_damaged(error: sqlite3.DatabaseError) -> bool:
    """Whether the fault lies in the file itself, not in who holds it or in the disk."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest tells kinds of damage apart
    return code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)


class Keyed(Protocol):
    """A stage's input: anything with an id."""

    @property
    def id(self) -> str: ...


class Item(Keyed, Protocol):
    """A stage's output: an id, and the ids of the inputs that it comes from."""

    @property
    def origin(self) -> tuple[str, ...]: ...


T = TypeVar("T")


@dataclass(frozen=True)
class Mark:
    """How far a stage has come; `facts` are what it reports (models, thresholds)."""

    name: str
    fingerprint: str
    done: bool
    entered: int
    kept: int
    seconds: float
    facts: dict[str, Any]


def _body(item: Item) -> str:
    """A row as it is stored: things that have rows of their own stand in it as ids."""
    adapter = ADAPTERS[type(item)]
    if type(item) not in REFERENCES:
        return adapter.dump_json(item).decode()
    field, _ = REFERENCES[type(item)]
    value = getattr(item, field)
    ids = [one.id for one in value] if isinstance(value, tuple) else value.id
    row = adapter.dump_python(item, mode="json", exclude={field}) | {field: ids}
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"))


def _ids(field: str | list[str]) -> list[str]:
    return [field] if isinstance(field, str) else field


ADAPTERS: dict[type, TypeAdapter[Any]] = {kind: TypeAdapter(kind) for kind in set(TABLES.values())}


class Store:
    """The run in a folder, opened or made anew. Use as a context manager, in one thread only."""

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            BadInput: no run can be read or written there; the message says why.
        """
        self.folder = folder
        with self._explained():
            folder.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(folder / DATABASE, isolation_level=None)
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
        """Makes the tables in a new file; a foreign one is left as it is, and one of another version is not ours to
        read: `iclora.earlier` takes what people said from it."""
        if self._version() == (0, False):
            # One process at a time: the switch to WAL does not wait, it fails at once if another process has the file.
            with locked(self.folder / "opening.lock", 60):
                if self._version() == (0, False):  # else another process was faster
                    self._make()
        if self._version() != (VERSION, True):
            raise BadInput(
                f"{self.folder / DATABASE} is not a run of this version of iclora; if it is one of another version, "
                "'iclora dataset' derives it again and keeps every decision, else name another folder with --out."
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
        """Turns what SQLite or the disk refuses into a sentence."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            way = "make room or free the file and type the same again, or name another folder with --out"
            if isinstance(error, sqlite3.DatabaseError) and is_damaged(error) and (self.folder / SETTINGS).exists():
                way = f"delete {DATABASE} and type the same again: it is derived again, and no decision is lost"
            raise BadInput(f"the run in {self.folder} can't be read or written ({error}); {way}.") from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
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
        return list(self._each(query, *values))

    def _each(self, query: str, *values: object) -> Iterator[tuple[Any, ...]]:
        """Rows one by one: tables may hold a million."""
        with self._explained():
            yield from self._db.execute(query, values)

    # ---- stages: begin, one transaction per batch, finish

    @contextmanager
    def working(self) -> Iterator[None]:
        """Only one process at a time works on a run; others may look at it. May be nested.

        Raises:
            BadInput: another process is working on the run; the message says which.
        """
        if self._at_work:
            yield
            return
        with working(self.folder):
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
        """Resumes a stage of the same fingerprint, or starts it anew, which deletes its old rows."""
        mark = self.mark(stage)
        if mark and mark.fingerprint == fingerprint and not anew:
            return
        with self._transaction() as db:
            db.execute(f"DELETE FROM {table}")
            db.execute("DELETE FROM rejected WHERE stage = ?", (stage,))
            db.execute("DELETE FROM seen WHERE stage = ?", (stage,))
            db.execute("INSERT OR REPLACE INTO stages VALUES (?, ?, 0, 0, 0, 0, '{}')", (stage, fingerprint))

    def add(
        self,
        stage: str,
        table: str,
        items: Iterable[Item],
        rejected: Iterable[Rejected],
        seconds: float,
        seen: Mapping[str, str] = {},
    ) -> None:
        """Writes one batch of a stage, all of it or none.

        Args:
            seen: by input of the batch, a hash of what its results depend on.
        """
        with self._transaction() as db:
            db.executemany(UPSERT.format(table), ((item.id, _body(item)) for item in items))
            db.executemany(
                "INSERT OR REPLACE INTO rejected VALUES (?, ?, ?, ?, ?, ?)",
                ((stage, row.id, row.what, row.reason, row.detail, row.picture) for row in rejected),
            )
            db.executemany(
                "INSERT OR REPLACE INTO seen VALUES (?, ?, ?)", ((stage, item, key) for item, key in seen.items())
            )
            db.execute("UPDATE stages SET seconds = seconds + ? WHERE name = ?", (seconds, stage))

    def finish(self, stage: str, *, entered: int, kept: int, facts: dict[str, Any]) -> None:
        """Marks the stage as done; comes last."""
        with self._transaction() as db:
            db.execute(
                "UPDATE stages SET done = 1, entered = ?, kept = ?, facts = ? WHERE name = ?",
                (entered, kept, json.dumps(facts), stage),
            )

    def version(self) -> tuple[int, int]:
        """Another one as soon as something in the file has changed, by this process or another."""
        return self._read("PRAGMA data_version")[0][0], self._db.total_changes

    def count(self, table: str) -> int:
        return int(self._read(f"SELECT count(*) FROM {table}")[0][0])

    def counts(self) -> dict[str, int]:
        """Number of rows in every table."""
        return {table: self.count(table) for table in (*TABLES, *OTHER_TABLES)}

    def digest(self, table: str) -> str:
        """Hash of a table's content in order, the rows it refers to included; part of the next stage's fingerprint."""
        state = hashlib.sha256()
        for (body,) in self._each(f"SELECT body FROM {table} ORDER BY rowid"):
            state.update(self._content(table, body) + b"\n")
        return state.hexdigest()

    def _content(self, table: str, body: str) -> bytes:
        """A row's content together with the content of the rows that it refers to."""
        if TABLES.get(table) not in REFERENCES:
            return body.encode()
        field, other = REFERENCES[TABLES[table]]
        query = f"SELECT body FROM {other} WHERE id = ?"
        found = (self._read(query, one) for one in _ids(json.loads(body)[field]))
        return b"\n".join([body.encode(), *(self._content(other, rows[0][0]) if rows else b"gone" for rows in found)])

    # ---- reading

    def items(
        self, kind: type[T], table: str, others: Mapping[str, Item] | None = None, wanted: Set[str] | None = None
    ) -> list[T]:
        """The rows of a table, each with what it refers to.

        A row that refers to something which an earlier stage, begun anew and cut off, has taken away is left out: it
        will be made again when the line runs on.

        Args:
            others: by id, what the rows refer to, if the caller has read it.
            wanted: ids of the rows; None for all.
        """
        with garbage.paused():
            return list(self._items(kind, table, others, wanted))

    def _items(
        self, kind: type[T], table: str, others: Mapping[str, Item] | None = None, wanted: Set[str] | None = None
    ) -> Iterator[T]:
        """As `items`."""
        adapter: TypeAdapter[T] = ADAPTERS[kind]
        rows = self._each(f"SELECT id, body FROM {table} ORDER BY rowid")
        bodies = (body for name, body in rows if wanted is None or name in wanted)
        if kind not in REFERENCES:
            yield from map(adapter.validate_json, bodies)
            return
        field, other = REFERENCES[kind]
        if others is None:
            referred = {
                one for (body,) in self._each(f"SELECT body FROM {table}") for one in _ids(json.loads(body)[field])
            }
            read: Iterator[Item] = self._items(TABLES[other], other, wanted=referred)
            others = {item.id: item for item in read}
        for row in map(json.loads, bodies):
            ids = row[field]
            if others.keys() >= set(_ids(ids)):
                whole = others[ids] if isinstance(ids, str) else [others[one] for one in ids]
                yield adapter.validate_python(row | {field: whole})

    def seen(self, stage: str) -> dict[str, str]:
        """By input of a stage, the hash of what its results depended on, as far as `add` was given it."""
        return dict(self._read("SELECT id, hash FROM seen WHERE stage = ?", stage))

    def rejections(self, stage: str) -> dict[str, int]:
        """How many rows a stage has rejected, by reason, in the order of the first of each."""
        query = "SELECT reason, count(*) FROM rejected WHERE stage = ? GROUP BY reason ORDER BY min(rowid)"
        return dict(self._read(query, stage))

    def rejected(self, stage: str) -> list[Rejected]:
        query = "SELECT id, what, reason, detail, picture FROM rejected WHERE stage = ? ORDER BY rowid"
        return [Rejected(*row) for row in self._read(query, stage)]

    def table(self, name: str, also: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Any table as plain dictionaries, for printing; references are ids.

        Args:
            also: names of tables that the caller knows, for the message if there is none.

        Raises:
            BadInput: no such table.
        """
        tables = [*TABLES, *OTHER_TABLES]
        if name not in tables:
            known = [*tables, *also]
            raise BadInput(f"no table named '{name}'{suggest(name, known)} (known: {', '.join(known)}).")
        columns = [row[0] for row in self._read("SELECT name FROM pragma_table_info(?)", name)]
        found = [dict(zip(columns, row, strict=True)) for row in self._read(f"SELECT * FROM {name} ORDER BY rowid")]
        return [json.loads(row["body"]) if "body" in row else row for row in found]
