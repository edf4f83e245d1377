"""What a reviewer sees of a run: its rows, its images, and those that may take a panel's place."""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from iclora.page.errors import Unknown
from iclora.run import Run
from pipeline import garbage
from pipeline.progress import Progress, silent
from pipeline.records import Caption, Record, Row
from pipeline.review.current import CurrentRows
from pipeline.review.reviews import Made

SLICE = 0.01
"""Seconds for which captions are checked at a time; a request waits no longer for them."""
NEIGHBOURS = 24
"""Images that are offered in place of a panel, the nearest in its film or folder."""


@dataclass(frozen=True)
class Offer:
    """An image that may take a panel's place."""

    record: Record
    used: str
    """Id of another grid that already uses it; empty if none does."""


class Looking:
    """A run as it is now. Whatever reads its state must stay in the thread that opened it."""

    def __init__(self, run: Run) -> None:
        self.run, self.task = run, run.task
        self._rows = CurrentRows(run.store, run.task, run.counter)
        self._sequences: tuple[Made | None, dict[tuple[str, str], list[Record]]] = (None, {})
        """The run's images by film or folder."""
        self._places: tuple[Made | None, dict[str, int]] = (None, {})

    def read(self, progress: Progress = silent) -> CurrentRows:
        """The rows as they are now; the first time takes long, which `progress` is told of."""
        with garbage.paused():
            if self._rows.update(progress):
                gc.freeze()  # it stays; looking through all of it for cycles would hold up a request now and then
        return self._rows

    @property
    def _current(self) -> CurrentRows:
        return self.read()

    def rows(self) -> list[Row]:
        """All rows, those that most need a look first; not all of them are `checked`."""
        return self._current.riskiest_first()

    def outlines(self, grids: Iterable[str]) -> list[Row]:
        """As `row`, of several grids; not all of them are `checked`."""
        rows = self._current
        return [_there(grid, rows.outline(grid)) for grid in grids]

    def found_by_checks(self, after: int, most: int) -> tuple[list[Row], int, int]:
        """Rows that came out of the checks of their captions with problems or another decision.

        Args:
            after: how many of them have been seen.
            most: how many are looked at.

        Returns:
            The rows that the run still has, how many have been seen then, and how many captions are left to check.
        """
        rows = self._current
        found = rows.doubted[after : after + most]
        return list(filter(None, map(rows.outline, dict.fromkeys(found)))), after + len(found), rows.left_to_check

    def settle_some(self) -> bool:
        """Makes some rows anew on which people have decided; gives whether more are left."""
        return self._current.settle_some(SLICE)

    def check_some(self) -> bool:
        """Checks some captions that people have edited; gives whether more are left."""
        with garbage.paused():
            return self._rows.check_some(SLICE)

    @property
    def borderline(self) -> Container[str]:
        """Ids of the rows that passed narrowly, when rows were last looked at."""
        return self._rows.borderline

    def row(self, grid: str) -> Row:
        """
        Raises:
            Unknown: the run has no such grid.
        """
        return _there(grid, self._current.row(grid))

    def caption(self, grid: str) -> Caption | None:
        """What the captioner wrote, regardless of later edits."""
        return self._current.made.captions.get(grid)

    def facts(self) -> dict[str, Any]:
        """What the filter last found: the thresholds."""
        mark = self.run.store.mark("filter")
        return mark.facts if mark else {}

    def place(self, grid: str) -> int:
        """A grid's position in the run, which determines the names of its people."""
        return self.places()[grid]

    def places(self) -> dict[str, int]:
        """By grid, its position in the run; every row that is sent has it."""
        made, places = self._places
        if made is not (now := self._current.made):
            places = {grid: place for place, grid in enumerate(now.grids)}
            self._places = now, places
        return places

    def record(self, record: str) -> Record:
        """
        Raises:
            Unknown: the run has no such image.
        """
        if record not in self._current.made.records:
            raise Unknown(f"this run has no image '{record}'.")
        return self._rows.made.records[record]

    def offers(self, row: Row, panel: int) -> list[Offer]:
        """Images of the panel's own film or folder that the grid doesn't use: unused ones first, then the nearest.

        Raises:
            Unknown: the grid has no such panel.
        """
        old = row.grid.group.records[self.panel(row, panel)]
        users, sequence = self._current.users, self._sequence(source_of(old))
        places = {record.id: place for place, record in enumerate(sequence)}
        offers = [
            Offer(record, users[record.id][-1] if users.get(record.id) else "")
            for record in sequence
            if record.id not in row.grid.group.origin
        ]
        here = places.get(old.id, 0)
        offers.sort(key=lambda offer: (bool(offer.used), abs(places[offer.record.id] - here)))
        return offers[:NEIGHBOURS]

    def _sequence(self, source: tuple[str, str]) -> Sequence[Record]:
        """All images of a film or folder, in order."""
        made, sequences = self._sequences
        if made is not self._rows.made:
            sequences = defaultdict(list)
            for record in self._rows.made.records.values():
                sequences[source_of(record)].append(record)
            self._sequences = self._rows.made, sequences
        return sequences[source]

    def panel(self, row: Row, panel: int) -> int:
        """
        Raises:
            Unknown: the grid has no such panel.
        """
        if not 0 <= panel < row.grid.layout.size:
            raise Unknown(f"{row.id} has panels 0 to {row.grid.layout.size - 1}, got {panel}.")
        return panel


def _there(grid: str, row: Row | None) -> Row:
    if row is None:
        raise Unknown(f"this run has no grid '{grid}'.")
    return row


def source_of(record: Record) -> tuple[str, str]:
    """What images of one film or folder have in common."""
    return record.position.folder, record.position.film
