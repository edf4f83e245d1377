"""Which rows a person should look at first: what was rejected or is in doubt, the worst before the nearly good."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.records import Row


def riskiest_first(rows: Sequence[Row]) -> list[Row]:
    """Rows with a failed score first, then those with caption problems, each by how far its worst score lies off."""
    return sorted(rows, key=lambda row: (not row.reasons, not row.caption.problems, margin(row)))


def margin(row: Row) -> float:
    """How far a row's worst score lies on the good side of its threshold; infinite where nothing was measured."""
    return min(
        (abs(score.value - score.threshold) * (1 if score.passed else -1) for score in row.scores), default=float("inf")
    )
