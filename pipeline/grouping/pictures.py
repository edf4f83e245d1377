"""What is known of a run's images when groups form: their measurements as arrays, one row per record."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.consistency import evidence
from pipeline.consistency.likeness import ByVector, Likeness, unit
from pipeline.consistency.thresholds import RULES
from pipeline.duplicates.base import Limits, Looks
from pipeline.records import Record
from pipeline.task import GroupSection, Task

AT_ONCE = 4096
"""Groups whose mean is computed at once: 50 MB for groups of three and 512 numbers."""


@dataclass(frozen=True)
class Pictures:
    """Arrays over the records of a run."""

    rows: Mapping[str, int]
    """Row of each record by its id."""
    looks: Looks
    compared: np.ndarray
    """Unit vectors that tell how alike images are: the scorer's, without a scorer their colours; records x dimensions.
    NaN for an image that the scorer could not read."""
    by: str
    """Whose these are: "pictures" (the scorer's) or "colours"."""
    measures: Mapping[str, Likeness]
    """By name, the measures by which a task's groups are told from strangers."""

    @classmethod
    def of(cls, task: Task, records: Sequence[Record], vectors: np.ndarray | None) -> Pictures:
        """
        Args:
            vectors: the scorer's image vectors, one row per record; None without a scorer.
        """
        measures = evidence.from_pictures(task, records, vectors)
        colours = measures.get("colours")
        looks = look_at(records, vectors, colours.rows if isinstance(colours, ByVector) and records else None)
        return cls(
            {record.id: row for row, record in enumerate(records)},
            looks,
            looks.colours if vectors is None else vectors,
            "colours" if vectors is None else "pictures",
            measures,
        )

    def rows_of(self, groups: Sequence[Sequence[Record]]) -> np.ndarray:
        """Rows of the records of groups of one size: groups x panels."""
        return np.array([[self.rows[record.id] for record in group] for group in groups])

    def compared_rows(self, records: Sequence[Record]) -> np.ndarray:
        """`compared` of some of the records; zero for an image that the scorer could not read."""
        found: np.ndarray = self.compared[[self.rows[record.id] for record in records]]
        np.nan_to_num(found, copy=False)
        return found

    def compared_with(self, record: Record) -> np.ndarray:
        """Cosine similarity of a record to each of the run's; 0 where the scorer could not read an image."""
        found: np.ndarray = self.compared @ self.compared_rows([record])[0]
        np.nan_to_num(found, copy=False)
        return found

    def likeness(self, records: Sequence[Record]) -> tuple[float, float]:
        """Least and mean similarity in colour over all pairs of the records, 0..1; a single record is like itself."""
        vectors = self.looks.colours[[self.rows[record.id] for record in records]]
        pairs = (vectors @ vectors.T)[_pairs(len(records))]
        return (float(pairs.min()), float(pairs.mean())) if len(pairs) else (1.0, 1.0)

    def means(self, groups: Sequence[Sequence[Record]]) -> np.ndarray:
        """The mean of `compared` over the records of groups of one size, as unit vectors: groups x dimensions."""
        found = np.empty((len(groups), self.compared.shape[1]), self.compared.dtype)
        for start in range(0, len(groups), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            found[part] = unit(np.nan_to_num(self.compared[self.rows_of(groups[part])], copy=False).mean(axis=1))
        return found


@functools.cache
def _pairs(count: int) -> tuple[np.ndarray, ...]:
    """Rows and columns above the diagonal, kept: shots of films ask for them ten times each."""
    return np.triu_indices(count, 1)


def look_at(records: Sequence[Record], vectors: np.ndarray | None, colours: np.ndarray | None = None) -> Looks:
    """What copies are found by.

    Args:
        colours: the histograms as unit vectors, if the caller has them.
    """
    if colours is None:
        colours = unit(evidence.histograms(records) if records else np.zeros((0, 1), np.float32))
    return Looks(records, colours, vectors)


def limits(part: GroupSection, kind: str) -> Limits:
    """From where on pictures are copies.

    Args:
        kind: of the scorer, "clip" or "siglip"; empty without one.
    """
    usual = RULES["most alike"].fixed.get(kind)
    return Limits(part.near, part.ceiling, part.copies if kind and part.copies is not None else usual)
