"""Another crop, moment or exposure of the same thing: alike by a scorer's vectors, and by colours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from pipeline.duplicates.base import Copy, Limits, Looks

NEAREST = 8
"""Neighbours of a picture that are looked at in the first round; in each further one they are twice as many."""
FLAT = 20_000
"""Up to this many vectors all are compared with all; more are put into cells, of which the nearest are searched."""
CELLS_SEARCHED = 24
TRAINED = 40
"""Vectors per cell by which the cells are placed: as many as faiss asks for at least."""
AT_ONCE = 1 << 14
"""Vectors that are copied at once: 32 MB of 512 numbers each."""


def copies(looks: Looks, order: np.ndarray, limits: Limits, fixed: int) -> Iterator[Copy]:
    """Pictures whose vectors and colours are at least as alike as the limits say; `finding` explains the arguments.

    Goes through them in their order: each is a copy of the first that stays and is alike, or stays. Where more are
    alike than were looked at, that is open until more are.
    """
    if looks.vectors is None or limits.vectors is None:
        return
    readable = order[~np.isnan(looks.vectors[order]).any(axis=1)]
    rank = {row: place for place, row in enumerate(readable.tolist())}
    open_, left, count = readable[readable >= fixed], readable, NEAREST
    staying = {row for row in rank if row < fixed}
    while len(open_):
        similarity, place = nearest(looks.vectors, open_, left, count)
        gone, unknown = set[int](), set[int]()
        for row, cosines, places in zip(open_.tolist(), similarity, left[place], strict=True):
            near = places[(cosines >= limits.vectors) & (looks.colours[places] @ looks.colours[row] >= limits.colours)]
            before = sorted((one for one in near.tolist() if rank[one] < rank[row]), key=rank.__getitem__)
            first = next((one for one in before if one in staying), None)
            if first is not None:
                gone.add(row)
                cosine = float(looks.vectors[row] @ looks.vectors[first])
                yield Copy(row, first, f"vectors alike by {cosine:.3f}, ceiling {limits.vectors:g}")
            elif unknown.intersection(before) or (cosines[-1] >= limits.vectors and count < len(left)):
                unknown.add(row)
            elif not fixed:
                staying.add(row)
        open_ = np.array([row for row in open_.tolist() if row in unknown], int)
        left, count = np.array([row for row in left.tolist() if row not in gone], int), 2 * count


def nearest(vectors: np.ndarray, queries: np.ndarray, among: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The vectors that are most similar to each of some.

    Args:
        vectors: unit vectors, vectors x dimensions.
        queries: rows of them whose nearest are looked for.
        among: rows that are looked at.
        count: of vectors per query; fewer if there are not so many.

    Returns:
        Cosine similarities, the highest first, and places in `among`; -1 where the cells searched hold too few.
        Queries x count each.
    """
    import faiss

    def parts(rows: np.ndarray, size: int = AT_ONCE) -> Iterator[np.ndarray]:
        return (vectors[rows[start : start + size]].astype(np.float32) for start in range(0, len(rows), size))

    index: Any = faiss.IndexFlatIP(vectors.shape[1])
    if len(among) > FLAT:
        index = faiss.IndexIVFFlat(index, vectors.shape[1], int(4 * len(among) ** 0.5), faiss.METRIC_INNER_PRODUCT)
        index.nprobe = CELLS_SEARCHED
        index.cp.min_points_per_centroid = 1  # no warning
        step = max(1, len(among) // (TRAINED * index.nlist))
        index.train(next(parts(among[::step], len(among))))
    for rows in parts(among):
        index.add(rows)
    found = [index.search(rows, min(count, len(among))) for rows in parts(queries)]
    return np.concatenate([cosines for cosines, _ in found]), np.concatenate([places for _, places in found])
