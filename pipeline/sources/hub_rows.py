"""Rows of data sets that the package `datasets` reads, kept as Parquet tables of this machine's shared cache.

A data set is read once, as a stream and up to a bound, with its pictures as they are: decoding is done by this
toolkit's own readers, whom a broken picture does not stop.
"""

from __future__ import annotations

import datetime
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import files
from pipeline.cache import key_of, shared_folder
from pipeline.sources.base import CHUNK
from pipeline.sources.tables.base import Row
from pipeline.sources.tables.parquet import Cell, Parquet

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

AT_ONCE = 16
"""Rows that are held in memory at once."""
MOST_BYTES = 1 << 29
"""Of a picture that is a file beside the rows."""
PICTURES = ("Image", "Video", "Pdf")
"""Features of `datasets` whose cells are files that readers may read."""

Kind = str
"""What of a column is kept: "picture" or "pictures", "text" or "texts"."""


@dataclass(frozen=True)
class HubCell:
    """A picture of a data set, in the table that was made of its rows. Where the cache lies does not matter."""

    source: str
    table: str
    """Name of the table in the cache, which is a hash of all that its content depends on."""
    row: int
    column: str
    place: int
    path: Path | None = None

    def chunks(self) -> Iterator[bytes]:
        file = _home() / f"{self.table}.parquet"
        yield from Cell(str(file), file.stat().st_mtime_ns, self.row, self.column, self.place).chunks()


class HubTable(Parquet):
    """A split of a data set."""

    def __init__(self, source: str, table: str, most: int) -> None:
        """
        Args:
            source: its address, for people.
            table: as `kept` gives it.
            most: rows that were wanted.
        """
        super().__init__(_home() / f"{table}.parquet")
        self.source, self.table, self.most = source, table, most
        if self.reader.count > most:
            self.notes = [f"only the first {most:,} rows are read, hub.rows says how many"]

    def rows(self, columns: Sequence[str]) -> Iterator[Row]:
        return itertools.islice(super().rows(columns), self.most)

    def cell(self, row: Row, column: str, place: int) -> HubCell:
        return HubCell(self.source, self.table, row.number, column, place)


def kept(state: Mapping[str, object], most: int, open_rows: Callable[[], datasets.IterableDataset], root: str) -> str:
    """The name of the table with a data set's first rows, which is made if it is not there: one more than wanted, which
    shows that there are more.

    Args:
        state: all that tells this split of this version of the data set from others.
        most: rows that are wanted.
        open_rows: opens the split as a stream.
        root: what the names of its files must begin with; of others the data set has no business.

    Raises:
        Exception: whatever `datasets` raises where it can't be read.
    """
    import pyarrow.parquet as pq

    table = key_of(**state, most=most)
    file = _home() / f"{table}.parquet"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = open_rows()
        if rows.features:
            rows = rows.decode(False)
        with files.replacing(file) as part:
            first = next(iter(rows.take(1)), None)
            kinds = _kinds(rows.features, first or {})
            schema = _schema(kinds)
            with pq.ParquetWriter(part, schema) as writer:
                # Not in batches of `datasets`: older versions can't join rows of which some have an empty cell.
                stream = iter(rows.take(most + 1))
                while some := list(itertools.islice(stream, AT_ONCE)):
                    writer.write_table(_table(some, kinds, rows.features or {}, schema, root))
    return table


def remembered(name: str, find: Callable[[], dict[str, str]]) -> dict[str, str]:
    """What was found under a name before on this machine, else what is found now: so a run keeps to one commit, and
    needs no network once it has its rows."""
    import json

    file = _home() / f"{key_of(name=name)}.json"
    try:
        found = json.loads(files.read(file, CHUNK))
        return {str(key): str(value) for key, value in found.items()}
    except (OSError, ValueError, AttributeError):
        pass
    told = find()
    file.parent.mkdir(parents=True, exist_ok=True)
    files.write(file, json.dumps(told))
    return told


def _home() -> Path:
    return shared_folder() / "hub"


# ---- columns


def _kinds(features: Mapping[str, Any] | None, first: Mapping[str, Any]) -> dict[str, Kind]:
    """The columns that are kept."""
    if features:
        found = {name: _kind_of(feature) for name, feature in features.items()}
    else:
        found = {name: _kind_by(value) for name, value in first.items()}
    return {name: kind for name, kind in found.items() if kind}


def _kind_of(feature: Any) -> Kind:
    name = type(feature).__name__
    if name in PICTURES or (name == "Value" and "binary" in feature.dtype):
        return "picture"
    if name in ("Value", "ClassLabel"):
        return "text"
    inner = feature[0] if isinstance(feature, list) and feature else getattr(feature, "feature", None)
    kind = _kind_of(inner) if inner is not None else ""
    return f"{kind}s" if kind in ("picture", "text") else ""


def _kind_by(value: Any) -> Kind:
    if isinstance(value, list):
        kind = _kind_by(value[0]) if value else ""
        return f"{kind}s" if kind in ("picture", "text") else ""
    if isinstance(value, dict):
        return "picture" if "bytes" in value else ""
    return "picture" if isinstance(value, bytes) else "text"


def _schema(kinds: Mapping[str, Kind]) -> pa.Schema:
    import pyarrow as pa

    picture = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    types = {"picture": picture, "pictures": pa.list_(picture), "text": pa.string(), "texts": pa.list_(pa.string())}
    return pa.schema([(name, types[kind]) for name, kind in kinds.items()])


def _table(
    rows: Sequence[Mapping[str, Any]],
    kinds: Mapping[str, Kind],
    features: Mapping[str, Any],
    schema: pa.Schema,
    root: str,
) -> pa.Table:
    import pyarrow as pa

    def value(cell: Any, kind: Kind, feature: Any) -> Any:
        if kind.endswith("s"):
            inner = feature[0] if isinstance(feature, list) and feature else getattr(feature, "feature", None)
            return [value(each, kind[:-1], inner) for each in cell] if isinstance(cell, Iterable) else None
        return _picture(cell, root) if kind == "picture" else _text(cell, feature)

    columns = {name: [value(row.get(name), kind, features.get(name)) for row in rows] for name, kind in kinds.items()}
    return pa.Table.from_pydict(columns, schema=schema)


def _text(cell: Any, feature: Any) -> str | None:
    """A value as people write it; a label by its name."""
    if cell is None:
        return None
    if type(feature).__name__ == "ClassLabel" and isinstance(cell, int) and 0 <= cell < len(feature.names):
        return str(feature.names[cell])
    found = cell.isoformat() if isinstance(cell, datetime.date | datetime.time) else str(cell)
    return found.encode(errors="replace").decode()


def _picture(cell: Any, root: str) -> dict[str, Any] | None:
    """A picture's bytes and name. A file of the data set is read; any other is none of its business."""
    if isinstance(cell, bytes):
        return {"bytes": cell, "path": None}
    if not isinstance(cell, dict):
        return None
    path, content = cell.get("path"), cell.get("bytes")
    if not content and isinstance(path, str):
        content = _file(path, root)
    return {"bytes": content, "path": os.path.basename(path) if isinstance(path, str) else None}


def _file(path: str, root: str) -> bytes | None:
    """A file within a data set, perhaps in an archive of it; None if it can't be read or lies elsewhere."""
    import fsspec

    where = path.rpartition("::")[2]
    is_remote = root.startswith("hf://")
    if not (where if is_remote else f"{os.path.realpath(where)}").startswith(root):
        return None
    try:
        if not is_remote and where == path:
            return files.read(path, MOST_BYTES)
        with fsspec.open(path, "rb") as file:
            content: bytes = file.read(MOST_BYTES + 1)
            return content if len(content) <= MOST_BYTES else None
    except Exception:  # every file system and every archive has errors of its own; the row says that it has no picture
        return None
