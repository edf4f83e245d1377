"""A table with a row per picture, or per set of pictures: CSV, TSV, JSON Lines, JSON, Parquet, an Excel workbook."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pipeline import files
from pipeline.errors import BadInput
from pipeline.sources import disk, encodings
from pipeline.sources.base import Content, Fault, Item, Remark
from pipeline.sources.tables import parquet, workbook
from pipeline.sources.tables.base import Table
from pipeline.sources.tables.meaning import understand
from pipeline.sources.tables.nearby import Nearby, path_of
from pipeline.sources.tables.reading import Reading
from pipeline.sources.tables.text import TextTable
from pipeline.task import TableSection, Task

PRIORITY = 50  # after those of other packages, which may know the file better, and before ZIP, which a workbook is too
TEXTS = (".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".json")
MOST_BYTES = 1 << 28
"""Of a table that is a text; it is kept in memory while it is read."""


def claims(path: Path) -> bool:
    if path.suffix.lower() in (*TEXTS, *workbook.READ, *workbook.OTHERS):
        return path.is_file()
    try:
        with files.open_regular(path) as file:
            return file.read(len(parquet.MAGIC)) == parquet.MAGIC
    except OSError:  # a folder; or whoever reads it says so
        return False


def items(path: Path, task: Task | None = None) -> Iterator[Item | Remark]:
    """An item per picture in the order of the rows, and a fault for each that can't be had.

    Raises:
        BadInput: the settings don't fit the table, it names no pictures, or a package to read it with is missing.
    """
    home = os.path.abspath(path)
    try:
        table = _opened(path)
    except ValueError as damage:
        yield Item(home, "", fault=Fault("unreadable", str(damage)))
        return
    section, near = task.table if task else TableSection(), Nearby(os.path.dirname(home))
    meaning = understand(table, section, path.name, lambda cell: near.has(path_of(cell)))
    reading = Reading(home, table, meaning, near)
    found = list(reading.items()) if meaning.image or meaning.group else []
    if next(table.rows(table.columns), None) is None:
        yield Item(home, "", fault=Fault("empty", f"{home} has no rows."))
        return
    if not meaning.image and all(item.fault for item in found):
        known = ", ".join(table.columns) or "none"
        raise BadInput(
            f"{path.name} has no column of pictures, and no files below its folder are named by its columns; name "
            "the column of their paths with --set table.image=COLUMN, or those that their names are made of with --set "
            f"table.group=COLUMN --set table.panel=COLUMN (columns: {known})."
        )
    yield Remark(reading.remark())
    yield from found


def beside(home: str, name: str) -> Content | None:
    return disk.beside(home, name)


def _opened(path: Path) -> Table:
    """
    Raises:
        BadInput: nothing is installed that can read it.
        ValueError: it is damaged; the message is a whole sentence.
    """
    if path.suffix.lower() in (*workbook.READ, *workbook.OTHERS):
        return workbook.Workbook(path)
    if path.suffix.lower() not in TEXTS:
        return parquet.Parquet(path)
    try:
        content = files.read(path, MOST_BYTES)
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}.") from error
    text = _decoded(content, str(path))
    try:
        return TextTable(text, path.suffix)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} can't be read as a table ({error}); mend it or leave it out.") from error


def _decoded(content: bytes, where: str) -> str:
    """The text of a table. Letters that were lost cost only the cells that they are in.

    Raises:
        ValueError: its encoding is in doubt; the message is a whole sentence.
    """
    found = encodings.decode(content, where)
    if isinstance(found, str):
        return found
    try:
        return content.decode("utf-8-sig").replace("\0", "\ufffd")
    except UnicodeDecodeError:
        raise ValueError(found.detail) from None
