"""What a table is, whatever file it is in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.sources.base import Content


@dataclass(frozen=True)
class Row:
    """One row: its values by column, or why it can't be read."""

    number: int
    """From 0; the header and empty rows don't count."""
    label: str
    """What people find it by, such as "row 4" in a spreadsheet, whose header is row 1, or "line 4"."""
    values: Mapping[str, Any]
    broken: str = ""
    """The end of a sentence that begins with the row; empty where it could be read."""


class Table(Protocol):
    """A table that may be read several times."""

    columns: Sequence[str]
    pictures: Sequence[str]
    """Columns that hold pictures themselves and not their names; their values are those of `cell`."""
    notes: Sequence[str]
    """What people should know of how it was read, as ends of a sentence that begins with the table."""

    def rows(self, columns: Sequence[str]) -> Iterator[Row]:
        """Its rows in order. Of `columns`, the values of `pictures` are the names of the pictures in the cell, a list:
        empty ones where they have none.

        Raises:
            BadInput: it can't be read further; the message is a whole sentence.
        """

    def cell(self, row: Row, column: str, place: int) -> Content:
        """A picture that is in the table itself.

        Args:
            place: in the list that `rows` gives for the cell.
        """
