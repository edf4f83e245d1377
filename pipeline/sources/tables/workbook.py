"""The first sheet of an Excel workbook."""

from __future__ import annotations

import datetime
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import files
from pipeline.errors import BadInput
from pipeline.plugins import extras
from pipeline.sources.base import Content
from pipeline.sources.tables.base import Row
from pipeline.sources.tables.text import columns_of, lacks_header

if TYPE_CHECKING:
    from openpyxl import Workbook as Book

READ, OTHERS = (".xlsx", ".xlsm"), (".xls", ".xlsb", ".ods", ".fods", ".numbers")
"""Endings of workbooks that are read, and of those that a person must save in another format."""
MOST_BYTES, MOST_UNPACKED = 1 << 28, 1 << 31
"""Of a workbook as it is, and of what it unpacks to."""
MOST_COLUMNS = 1000
ADVICE = "save it as CSV"


class Workbook:
    """The first sheet that is not hidden, row by row as the file has them."""

    pictures: Sequence[str] = ()

    def __init__(self, path: Path) -> None:
        """
        Raises:
            BadInput: it can't be read, or nothing is installed that can.
        """
        if path.suffix.lower() in OTHERS:
            raise BadInput(f"the workbook {path} can't be read; {ADVICE}.")
        if lacking := extras.sentence(f"the workbook {path.name}", "tables"):
            raise BadInput(f"{lacking.removesuffix('.')}, or {ADVICE}.")
        self.path = path
        try:
            with files.open_regular(path, MOST_BYTES) as file, zipfile.ZipFile(file) as packed:
                unpacked = sum(info.file_size for info in packed.infolist())
            if unpacked > MOST_UNPACKED:
                raise ValueError(f"it unpacks to {unpacked:,} bytes, more than {MOST_UNPACKED:,}")
            book = self._open()
            shown = [sheet.title for sheet in book.worksheets if sheet.sheet_state == "visible"]
            self.sheet, *others = shown or book.sheetnames
            book.close()
            self._header = next((cells for _, cells in self._filled()), [])
        except BadInput:
            raise
        except Exception as error:  # openpyxl raises whatever its XML leads it to
            raise self._refused(error) from error
        self.notes: Sequence[str] = [f"only the sheet {self.sheet} is read, not {', '.join(others)}"] if others else []
        self.columns: Sequence[str] = columns_of([_text(cell) for cell in self._header])

    def _open(self) -> Book:
        import openpyxl

        with warnings.catch_warnings(action="ignore"):  # about formats of cells that it doesn't know
            return openpyxl.load_workbook(self.path, read_only=True, data_only=True)

    def _refused(self, error: Exception) -> BadInput:
        said = getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__
        return BadInput(f"the workbook {self.path} can't be read ({said}); {ADVICE}.")

    def _filled(self) -> Iterator[tuple[int, list[Any]]]:
        """Rows that are not empty, with their numbers in the sheet.

        Raises:
            BadInput: the file is damaged from here on.
        """
        book = self._open()
        try:
            sheet = book[self.sheet]
            sheet.reset_dimensions()  # a forgotten cell at the far end must not make every row as long
            with warnings.catch_warnings(action="ignore"):
                for number, cells in enumerate(sheet.iter_rows(values_only=True), start=1):
                    row = list(islice(cells, MOST_COLUMNS))
                    if any(map(_text, row)):
                        yield number, row
        except Exception as error:
            raise self._refused(error) from error
        finally:
            book.close()

    def rows(self, columns: Sequence[str]) -> Iterator[Row]:
        first = 0 if lacks_header([_text(cell) for cell in self._header]) else 1
        for number, (label, cells) in enumerate(islice(self._filled(), first, None)):
            values = {name: _value(cell) for name, cell in zip(self.columns, cells, strict=False)}
            yield Row(number, f"row {label}", values)

    def cell(self, row: Row, column: str, place: int) -> Content:
        raise NotImplementedError  # pictures that lie on a sheet are in no cell


def _value(cell: Any) -> Any:
    return cell.isoformat() if isinstance(cell, datetime.date | datetime.time) else cell


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell).strip()
