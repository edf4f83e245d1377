"""Parquet tables, as `datasets` and others write them: pictures may be in their cells."""

from __future__ import annotations

import datetime
import os
import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import BadInput
from pipeline.plugins import extras
from pipeline.sources.base import HEAD, Content
from pipeline.sources.formats import format_of
from pipeline.sources.tables.base import Row

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

MAGIC = b"PAR1"
TEXTS_AT_ONCE, PICTURES_AT_ONCE = 1000, 8
"""Rows that are decoded at once, without and with the bytes of pictures."""
PROBED = 20
"""Rows that are looked at to see whether a column holds pictures."""


@dataclass(frozen=True)
class Cell:
    """A picture in a cell of a table."""

    table: str
    changed: int
    """Time of the table's last change in nanoseconds."""
    row: int
    column: str
    place: int
    """In the cell's list, from 0; of no meaning where the cell holds one picture."""
    path: Path | None = None

    def chunks(self) -> Iterator[bytes]:
        reader = _opened(self.table, self.changed, os.getpid())
        found = _list(reader.value(self.row, self.column))
        content = _bytes(found[self.place]) if self.place < len(found) else None
        if content is None:
            raise BadInput(f"{self.table} has no picture in row {self.row + 1} of its column {self.column}.")
        yield content


class Parquet:
    """A table whose rows are numbered from 1, as no program shows numbers of its own for them."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            BadInput: nothing is installed that can read it.
            ValueError: it is damaged; the message is a whole sentence.
        """
        extras.require(f"the Parquet table {path.name}", "tables")
        self.home, self.changed = os.path.abspath(path), path.stat().st_mtime_ns
        try:
            self.reader = _opened(self.home, self.changed, os.getpid())
        except BadInput as error:
            raise ValueError(str(error)) from error
        self.notes: Sequence[str] = ()
        self.columns: Sequence[str] = [field.name for field in self.reader.schema]
        self.pictures: Sequence[str] = [field.name for field in self.reader.schema if self._holds_pictures(field)]
        self._heavy = {field.name for field in self.reader.schema if _is_heavy(field.type)}

    def _holds_pictures(self, field: pa.Field) -> bool:
        """Whether a column has the bytes of pictures: by its first cells that have any."""
        kind = field.type.value_type if _is_list(field.type) else field.type
        if not _is_binary(kind) and not (_is_struct(kind) and "bytes" in [part.name for part in kind]):
            return False
        rows = range(min(PROBED, self.reader.count))
        found = (_bytes(each) for row in rows for each in _list(self.reader.value(row, field.name)))
        content = next((each for each in found if each), None)
        return content is not None and bool(format_of(content[:HEAD]).kind)

    def rows(self, columns: Sequence[str]) -> Iterator[Row]:
        leaves = {
            column: self.reader.names_of(column) if column in self._heavy or column in self.pictures else column
            for column in columns
        }
        number = 0
        for batch in self.reader.batches([leaf for leaf in leaves.values() if leaf], TEXTS_AT_ONCE):
            for values in batch:
                found = {
                    column: (_names(values.get(column)) if leaf else [""]) if column in self.pictures else
                    _plain(values.get(column)) if leaf else None
                    for column, leaf in leaves.items()
                }  # fmt: skip
                yield Row(number, f"row {number + 1}", found)
                number += 1

    def cell(self, row: Row, column: str, place: int) -> Content:
        return Cell(self.home, self.changed, row.number, column, place)


def _is_list(kind: pa.DataType) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind))


def _is_binary(kind: pa.DataType) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_binary(kind) or kinds.is_large_binary(kind) or kinds.is_binary_view(kind))


def _is_struct(kind: pa.DataType) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_struct(kind))


def _is_heavy(kind: pa.DataType) -> bool:
    """Whether it holds what no column of texts and numbers does: bytes, or vectors of numbers."""
    import pyarrow.types as kinds

    if _is_struct(kind):
        return any(_is_heavy(part.type) for part in kind)
    return _is_binary(kind) or (_is_list(kind) and (kinds.is_floating(kind.value_type) or _is_heavy(kind.value_type)))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _bytes(value: Any) -> bytes | None:
    """The bytes of a cell, those of the file that it names where it has none of its own."""
    found = value.get("bytes") if isinstance(value, dict) else value
    return found if isinstance(found, bytes) and found else None


def _names(value: Any) -> list[str]:
    """The names that `datasets` keeps of the pictures in a cell."""
    return [str((each or {}).get("path") or "") if isinstance(each, dict) else "" for each in _list(value)]


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else value


# ---- reading


class _Reader:
    """An open table. Cells are read in passing, a few rows at a time, so that a row group need not fit into memory."""

    def __init__(self, table: str, file: pq.ParquetFile) -> None:
        self.table, self.file = table, file
        self.schema: pa.Schema = file.schema_arrow
        self.count: int = file.metadata.num_rows
        groups = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
        self.starts = [0, *accumulate(groups)][:-1]
        self._lock = threading.Lock()
        self._under_way: dict[str, tuple[int, list[Any], Iterator[tuple[int, list[Any]]]]] = {}

    def names_of(self, column: str) -> str:
        """The part of a column that has only the names of its pictures; empty where there is none."""
        paths = [self.file.schema.column(number).path for number in range(len(self.file.schema))]
        return next((path for path in paths if path.startswith(f"{column}.") and path.endswith(".path")), "")

    def batches(self, columns: Sequence[str], size: int) -> Iterator[list[dict[str, Any]]]:
        """
        Raises:
            BadInput: the table is damaged from here on.
        """
        import pyarrow

        try:
            for start in range(0, self.count if not columns else 0, size):
                yield [{} for _ in range(start, min(start + size, self.count))]
            if not columns:
                return
            for batch in self.file.iter_batches(size, columns=list(columns), use_threads=False):
                yield batch.to_pylist()
        except (pyarrow.ArrowException, OSError) as error:
            raise BadInput(f"{self.table} is damaged: {str(error).splitlines()[0]}.") from error

    def value(self, row: int, column: str) -> Any:
        """
        Raises:
            BadInput: it can't be read.
        """
        import pyarrow

        with self._lock:
            try:
                first, values, rest = self._under_way.get(column) or (row + 1, [], iter(()))
                group = bisect_right(self.starts, row) - 1
                if not self.starts[group] <= first <= row:  # behind us, or in a later row group
                    first, values, rest = self.starts[group], [], self._from(group, column)
                while row >= first + len(values):
                    first, values = next(rest)
                self._under_way[column] = (first, values, rest)
                return values[row - first]
            except (pyarrow.ArrowException, OSError, StopIteration) as error:
                self._under_way.pop(column, None)
                said = str(error).splitlines()[0] if str(error) else "it ends too early"
                raise BadInput(f"{self.table} is damaged in row {row + 1}: {said}.") from error

    def _from(self, group: int, column: str) -> Iterator[tuple[int, list[Any]]]:
        """A row group's values of a column, with the number of the first of them."""
        start = self.starts[group]
        for batch in self.file.iter_batches(PICTURES_AT_ONCE, [group], [column], use_threads=False):
            yield start, batch.column(0).to_pylist()
            start += batch.num_rows


@lru_cache(maxsize=4)
def _opened(table: str, changed: int, process: int) -> _Reader:
    """
    Args:
        process: its number, since a forked process must not share the place in the file with its parent.

    Raises:
        BadInput: it can't be opened.
    """
    import pyarrow
    import pyarrow.parquet as pq

    try:
        return _Reader(table, pq.ParquetFile(table, buffer_size=1 << 20, pre_buffer=False))
    except (pyarrow.ArrowException, OSError) as error:
        raise BadInput(f"{table} is a damaged Parquet table: {str(error).splitlines()[0]}.") from error
