"""Whether pictures of one folder belong together, by their looks alone: tested against what chance would do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.consistency.belonging import LEAST_AREA, SEED
from pipeline.rows import Rows

SHUFFLES = 499
CHANCE = 0.01
"""Largest share of shuffled orders, or of random sets, that may be as coherent."""
MOST = 600
"""Pictures of a folder, and of others, that are looked at."""
AT_ONCE = 1 << 20
"""Pairs that are looked at in one step."""


@dataclass(frozen=True)
class Coherence:
    """How much more alike pictures are than chance would have them."""

    area: float
    """ROC AUC of pairs that should be alike against other pairs: 0.5 if they are no more alike."""
    chance: float
    """Share of shuffled orders, or of random sets, that are as coherent."""

    @property
    def holds(self) -> bool:
        return self.area >= LEAST_AREA and self.chance <= CHANCE


NONE = Coherence(0.5, 1.0)


def of_order(vectors: np.ndarray, size: int) -> Coherence:
    """Whether pictures that follow one another are more alike than others of the folder, as in the stills of a film.

    Args:
        vectors: unit vectors in order, pictures x dimensions.
        size: of the groups to be formed; pairs up to `size - 1` apart should be alike.
    """
    vectors = vectors[:MOST]
    count, reach = len(vectors), max(1, size - 1)
    if count <= reach + 1:
        return NONE
    alike = vectors @ vectors.T
    one = np.concatenate([np.arange(count - step) for step in range(1, reach + 1)])
    other = np.concatenate([np.arange(step, count) for step in range(1, reach + 1)])
    rng = np.random.default_rng(SEED)
    orders = np.stack([rng.permutation(count) for _ in range(SHUFFLES)])
    value = alike[one, other].mean()
    shuffled = _means(alike, orders, one, other)
    apart = np.triu(np.ones((count, count), bool), reach + 1)
    return Coherence(_area(alike[one, other], alike[apart]), _share(shuffled, value))


def of_set(vectors: Rows, others: Rows) -> Coherence:
    """Whether pictures are more alike than random sets of as many from the whole source.

    Args:
        vectors: unit vectors of the pictures; likewise `others`, those of all other pictures, of which some are read.
            NaN for an image that could not be read.
    """
    rng = np.random.default_rng(SEED)
    own, strange = (
        rows[:] if len(rows) <= MOST else rows[np.sort(rng.choice(len(rows), MOST, replace=False))]
        for rows in (vectors, others)
    )
    count, pool = len(own), np.nan_to_num(np.concatenate([own, strange]), copy=False)
    if count < 2 or len(strange) < count / 4:  # noqa: PLR2004  (too few to know what random sets are like)
        return NONE
    alike = pool @ pool.T
    pairs = np.triu_indices(count, 1)
    value = alike[:count, :count][pairs].mean()
    drawn = np.stack([rng.choice(len(pool), count, replace=False) for _ in range(SHUFFLES)])
    random = _means(alike, drawn, *pairs)
    return Coherence(_area(alike[:count, :count][pairs], alike[:count, count:].ravel()), _share(random, value))


def _means(alike: np.ndarray, orders: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The mean similarity of the same pairs of places in each of several orders of pictures: one per order.

    Args:
        orders: orders x places.
    """
    step = max(1, AT_ONCE // len(one))
    parts = (orders[start : start + step] for start in range(0, len(orders), step))
    return np.concatenate([alike[part[:, one], part[:, other]].mean(axis=1) for part in parts])


def _area(own: np.ndarray, other: np.ndarray) -> float:
    """The chance that one of the first is larger than one of the second; equal ones count half."""
    order = np.sort(other)
    beaten = (np.searchsorted(order, own, "left") + np.searchsorted(order, own, "right")) / (2 * len(order))
    return float(beaten.mean())


def _share(random: np.ndarray, value: float) -> float:
    return float((1 + (random >= value - 1e-7).sum()) / (1 + len(random)))
