"""Compares many vectors with many, in products of matrices: all with all, or, where these are too many, each with those
of the cells whose centres are nearest to it, as the inverted files of faiss do ("Billion-scale similarity search with
GPUs", Johnson, Douze and Jegou 2017).

No index holds the vectors a second time: they are read cell by cell, which also makes the products large.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from pipeline.rows import Rows

FLAT = 20_000
"""Up to this many vectors all are compared with all; more are put into cells, of which the nearest are searched."""
CELLS_SEARCHED = 24
TRAINED = 40
"""Vectors per cell by which the cells are placed: as many as faiss asks for at least."""
AT_ONCE = 1 << 14
"""Vectors that are put into cells at once: 32 MB of 512 numbers each."""
CELLS_AT_ONCE = 64
"""Cells for which it is looked up at once who searches them."""
QUERIES, COSINES = 4096, 1 << 23
"""Queries that are compared with a cell at once, at most so many cosines: 32 MB."""


class Comparison(NamedTuple):
    """Some queries against some vectors."""

    queries: np.ndarray
    """Places of the queries."""
    members: np.ndarray
    """Places of the vectors that they are compared with."""
    cosines: np.ndarray
    """Queries x members."""


class Cells:
    """Vectors with which others can be compared."""

    def __init__(self, vectors: Rows, among: np.ndarray) -> None:
        """
        Args:
            vectors: unit vectors, vectors x dimensions.
            among: rows of those that others are compared with.
        """
        self._vectors, self._among = vectors, among
        self._centres = _centres(vectors, among) if len(among) > FLAT else None
        self._near = self._nearest_cells(among)
        own = self._near[:, 0]
        self._order = np.argsort(own, kind="stable")
        self._borders = np.searchsorted(own[self._order], np.arange(self._count + 1))

    @property
    def _count(self) -> int:
        return 1 if self._centres is None else int(self._centres.ntotal)

    def _nearest_cells(self, rows: np.ndarray) -> np.ndarray:
        """The cells whose centres are nearest to some vectors, the nearest first: vectors x cells."""
        if self._centres is None:
            return np.zeros((len(rows), 1), np.int32)
        parts = (self._vectors[rows[start : start + AT_ONCE]] for start in range(0, len(rows), AT_ONCE))
        return np.concatenate([self._centres.search(part, CELLS_SEARCHED)[1].astype(np.int32) for part in parts])

    def compared(self, queries: np.ndarray) -> Iterator[Comparison]:
        """Each query with the vectors of all cells that it searches; some at a time, each pair once.

        Args:
            queries: rows of the vectors.
        """
        near = self._near if queries is self._among else self._nearest_cells(queries)
        for first in range(0, self._count, CELLS_AT_ONCE):
            asking, which = np.nonzero((near >= first) & (near < first + CELLS_AT_ONCE))
            cell = near[asking, which]
            asking = asking[np.argsort(cell, kind="stable")]
            borders = np.searchsorted(np.sort(cell), np.arange(first, first + CELLS_AT_ONCE + 1))
            for number in range(first, min(first + CELLS_AT_ONCE, self._count)):
                here = asking[borders[number - first] : borders[number - first + 1]]
                yield from self._within(number, queries, here)

    def _within(self, cell: int, queries: np.ndarray, asking: np.ndarray) -> Iterator[Comparison]:
        """One cell's vectors with the queries that search it.

        Args:
            asking: their places.
        """
        every = self._order[self._borders[cell] : self._borders[cell + 1]]
        for begin in range(0, len(every) if len(asking) else 0, FLAT):
            members = every[begin : begin + FLAT]
            own = self._vectors[self._among[members]]
            step = min(QUERIES, max(1, COSINES // len(members)))
            for start in range(0, len(asking), step):
                some = asking[start : start + step]
                yield Comparison(some, members, self._vectors[queries[some]] @ own.T)


def _centres(vectors: Rows, among: np.ndarray) -> Any:
    """An index of faiss over the centres of cells."""
    import faiss

    centres = faiss.IndexFlatIP(vectors.shape[1])
    index = faiss.IndexIVFFlat(centres, vectors.shape[1], int(4 * len(among) ** 0.5), faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = 1  # no warning
    index.train(vectors[among[:: max(1, len(among) // (TRAINED * index.nlist))]])
    return centres
