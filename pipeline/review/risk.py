"""Which rows a person should look at first: those rejected or in doubt, the worst before the nearly good."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Iterable

from pipeline.records import Row, Score

BORDER = 0.1
"""Share of the passing rows that count as borderline: those closest to their thresholds on any scorer's scale."""


class Borderline:
    """The ids of the rows that passed all thresholds, but at least one of them only narrowly. Rows may come and go."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._margins: dict[str, float] = {}
        self._sorted: list[tuple[float, str]] = []
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        """Takes up a row that is not among them."""
        if not row.reasons and 0 <= (found := margin(row)) < math.inf:
            self._margins[row.id] = found
            insort(self._sorted, (found, row.id))

    def discard(self, grid: str) -> None:
        """Leaves out a row, if it is among them."""
        if grid in self._margins:
            del self._sorted[self._place(grid)]
            del self._margins[grid]

    def __contains__(self, grid: object) -> bool:
        return (
            isinstance(grid, str)
            and grid in self._margins
            and self._place(grid) < math.ceil(BORDER * len(self._sorted))
        )

    def _place(self, grid: str) -> int:
        return bisect_left(self._sorted, (self._margins[grid], grid))


def riskiest_first(rows: Iterable[Row]) -> list[Row]:
    """Rows that the filter rejected, worst first; then those with caption problems; then the rest, borderline first."""
    return sorted(rows, key=rank)


def rank(row: Row) -> tuple[bool, bool, float]:
    """What rows are sorted by, the riskiest first."""
    return not row.reasons, not row.caption.problems, margin(row)


def margin(row: Row) -> float:
    """How far a row's worst score is on the good side of its threshold; infinite if nothing was measured.

    In units of what is usual: 1 is as good as the run's median, 0 is at the threshold, below 0 is rejected.
    """
    return min((_margin(score) for score in row.scores), default=float("inf"))


def _margin(score: Score) -> float:
    distance = abs(score.value - score.threshold) * (1 if score.passed else -1)
    unit = abs(score.usual - score.threshold) if score.usual is not None else 0.0
    return distance / unit if unit > 0 else distance
