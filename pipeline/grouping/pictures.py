"""What is known of a run's images when groups form: their measurements as arrays, one row per record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.consistency import evidence
from pipeline.consistency.likeness import Likeness
from pipeline.records import Record
from pipeline.task import Task


@dataclass(frozen=True)
class Pictures:
    """Arrays over the records of a run."""

    rows: Mapping[str, int]
    """Row of each record by its id."""
    colours: np.ndarray
    """Colour histograms as unit vectors, float32: records x bins."""
    hashes: np.ndarray
    """Perceptual hashes, uint8: records x 8 bytes."""
    measures: Mapping[str, Likeness]
    """By name, the measures by which a task's groups are told from strangers."""

    @classmethod
    def of(cls, task: Task, records: Sequence[Record], vectors: np.ndarray | None) -> Pictures:
        """
        Args:
            vectors: the scorer's image vectors, one row per record; None without a scorer.
        """
        histograms = evidence.histograms(records)
        return cls(
            {record.id: row for row, record in enumerate(records)},
            histograms / np.maximum(np.linalg.norm(histograms, axis=-1, keepdims=True), 1e-9),
            np.array([list(bytes.fromhex(record.phash)) for record in records], np.uint8),
            evidence.from_pictures(task, records, vectors),
        )

    def rows_of(self, groups: Sequence[Sequence[Record]]) -> np.ndarray:
        """Rows of the records of groups of one size: groups x panels."""
        return np.array([[self.rows[record.id] for record in group] for group in groups])

    def likeness(self, records: Sequence[Record]) -> tuple[float, float]:
        """Least and mean similarity in colour over all pairs of the records, 0..1; a single record is like itself."""
        vectors = self.colours[[self.rows[record.id] for record in records]]
        pairs = (vectors @ vectors.T)[np.triu_indices(len(records), 1)]
        return (float(pairs.min()), float(pairs.mean())) if len(pairs) else (1.0, 1.0)

    def mean_colours(self, records: Sequence[Record]) -> np.ndarray:
        """Mean colour histogram of the records, as a unit vector."""
        mean = self.colours[[self.rows[record.id] for record in records]].mean(axis=0)
        unit: np.ndarray = mean / np.linalg.norm(mean)
        return unit
