"""What is known of the pictures among which copies are looked for, and what a copy is."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.files import natural
from pipeline.records import Record
from pipeline.rows import Chosen, Rows


@dataclass(frozen=True)
class Limits:
    """How alike two pictures must be to be copies."""

    bits: int
    """Of 64, in which their hashes may differ."""
    colours: float
    """Least similarity of their colour histograms, 0..1, for copies by hash or vector."""
    vectors: float | None
    """Least cosine similarity of their vectors; None if vectors find no copies."""


@dataclass(frozen=True)
class Looks:
    """Pictures and what was measured on them, one row per picture."""

    records: Sequence[Record]
    colours: Rows
    """Colour histograms as unit vectors: pictures x bins."""
    vectors: Rows | None
    """A scorer's vectors: pictures x dimensions, NaN for a picture that can't be read; None without a scorer."""

    def take(self, rows: np.ndarray) -> Looks:
        """Some of the pictures."""
        if np.array_equal(rows, np.arange(len(self.records))):
            return self
        vectors = None if self.vectors is None else Chosen(self.vectors, rows)
        return Looks([self.records[row] for row in rows], Chosen(self.colours, rows), vectors)


@dataclass(frozen=True)
class Copy:
    """A picture that shows what another one shows."""

    copy: int
    """Row of the picture that goes."""
    of: int
    """Row of the one that stays."""
    how: str
    """How that was seen, in words: "hash within 6 bits", "mirrored"."""


def preference(records: Sequence[Record]) -> np.ndarray:
    """Rows in the order in which pictures stay: the largest first, then the sharpest, then the first by source.

    It does not depend on the order of the records.
    """

    def worth(row: int) -> tuple[int, float]:
        return -records[row].width * records[row].height, -records[row].sharpness

    def place(row: int) -> tuple[object, ...]:
        one = records[row]
        return natural(one.source), one.position.shot, one.position.page, one.id

    alike = itertools.groupby(sorted(range(len(records)), key=worth), worth)
    return np.array([row for _, rows in alike for row in sorted(rows, key=place)], int)
