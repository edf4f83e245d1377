"""What is known of a run's images when groups form: their measurements as arrays, one row per record."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.consistency import evidence
from pipeline.consistency.likeness import ByVector, UnitBytes, unit
from pipeline.consistency.thresholds import RULES
from pipeline.duplicates.base import Limits, Looks
from pipeline.records import Record
from pipeline.rows import Rows
from pipeline.task import GroupSection, Task

AT_ONCE = 4096
"""Groups whose mean is computed at once, 50 MB for groups of three and 512 numbers; and images that are compared."""


@dataclass(frozen=True)
class Tested:
    """Which pictures of a source may form groups."""

    records: Sequence[Record]
    """All pictures of the source; held here, so that no other sequence gets their identity."""
    sound: dict[tuple[bool, bool, tuple[str, ...]], tuple[str, bool]] = field(default_factory=dict)
    """By how they were tested and the ids of some of them, why these may form groups or not, and whether they may."""


@dataclass(frozen=True)
class Pictures:
    """Arrays over the records of a run."""

    rows: Mapping[str, int]
    """Row of each record by its id."""
    looks: Looks
    compared: Rows
    """Unit vectors that tell how alike images are: the scorer's, without a scorer their colours; records x dimensions.
    NaN for an image that the scorer could not read."""
    by: str
    """Whose these are: "pictures" (the scorer's) or "colours"."""
    measures: Mapping[str, ByVector]
    """By name, the measures by which a task's groups are told from strangers."""
    tested: dict[int, Tested] = field(default_factory=dict, compare=False)
    """What `structure` has tested, by the identity of the sequence of all records, since groups form twice."""

    @classmethod
    def of(cls, task: Task, records: Sequence[Record], vectors: Rows | None) -> Pictures:
        """
        Args:
            vectors: the scorer's image vectors, one row per record; None without a scorer.
        """
        measures = evidence.from_pictures(task, records, vectors)
        looks = look_at(records, vectors, measures["colours"].rows if "colours" in measures else None)
        return cls(
            {record.id: row for row, record in enumerate(records)},
            looks,
            looks.colours if vectors is None else vectors,
            "colours" if vectors is None else "pictures",
            measures,
        )

    def rows_of(self, groups: Sequence[Sequence[Record]]) -> np.ndarray:
        """Rows of the records of groups of one size: groups x panels."""
        return np.array([[self.rows[record.id] for record in group] for group in groups], int)

    def compared_rows(self, records: Sequence[Record]) -> np.ndarray:
        """`compared` of some of the records; zero for an image that the scorer could not read."""
        found: np.ndarray = self.compared[[self.rows[record.id] for record in records]]
        np.nan_to_num(found, copy=False)
        return found

    def compared_with(self, record: Record) -> np.ndarray:
        """Cosine similarity of a record to each of the run's; 0 where the scorer could not read an image."""
        own = self.compared_rows([record])[0]
        parts = (self.compared[start : start + AT_ONCE] @ own for start in range(0, len(self.compared), AT_ONCE))
        found: np.ndarray = np.nan_to_num(np.concatenate(list(parts)), copy=False)
        return found

    def likeness(self, records: Sequence[Record]) -> tuple[float, float]:
        """Least and mean similarity in colour over all pairs of the records, 0..1; a single record is like itself."""
        vectors = self.looks.colours[[self.rows[record.id] for record in records]]
        pairs = (vectors @ vectors.T)[pairs_of(len(records))]
        return (float(pairs.min()), float(pairs.mean())) if len(pairs) else (1.0, 1.0)

    def means(self, groups: Sequence[Sequence[Record]]) -> np.ndarray:
        """The mean of `compared` over the records of groups of one size, as unit vectors: groups x dimensions."""
        found = np.empty((len(groups), self.compared.shape[1]), np.float32)
        for start in range(0, len(groups), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            found[part] = unit(np.nan_to_num(self.compared[self.rows_of(groups[part])], copy=False).mean(axis=1))
        return found


@functools.cache
def pairs_of(count: int) -> tuple[np.ndarray, ...]:
    """Rows and columns above the diagonal, kept since they are asked for again and again."""
    return np.triu_indices(count, 1)


def look_at(records: Sequence[Record], vectors: Rows | None, colours: Rows | None = None) -> Looks:
    """What copies are found by.

    Args:
        colours: the histograms as unit vectors, if the caller has them.
    """
    if colours is None:
        colours = UnitBytes(evidence.histograms(records))
    return Looks(records, colours, vectors)


def limits(part: GroupSection, kind: str) -> Limits:
    """From where on pictures are copies.

    Args:
        kind: of the scorer, "clip" or "siglip"; empty without one.
    """
    usual = RULES["most alike"].fixed.get(kind)
    return Limits(part.near, part.ceiling, part.copies if kind and part.copies is not None else usual)
