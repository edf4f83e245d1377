"""Which rows a person should look at first: those rejected or in doubt, the worst before the nearly good."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.records import Row, Score


def riskiest_first(rows: Sequence[Row]) -> list[Row]:
    """Rows that the filter rejected, worst first; then those with caption problems; then the rest, borderline first."""
    return sorted(rows, key=lambda row: (not row.reasons, not row.caption.problems, margin(row)))


def margin(row: Row) -> float:
    """How far a row's worst score is on the good side of its threshold; infinite if nothing was measured.

    In units of what is usual: 1 is as good as the run's median, 0 is at the threshold, below 0 is rejected.
    """
    return min((_margin(score) for score in row.scores), default=float("inf"))


def _margin(score: Score) -> float:
    distance = abs(score.value - score.threshold) * (1 if score.passed else -1)
    unit = abs(score.usual - score.threshold) if score.usual is not None else 0.0
    return distance / unit if unit > 0 else distance
