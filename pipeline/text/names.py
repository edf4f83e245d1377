"""Names for the people in captions: short, from many places, with an equal share for each culture and gender."""

from __future__ import annotations

import random
from functools import lru_cache
from pathlib import Path

POOL = tuple((Path(__file__).parent / "names.txt").read_text(encoding="utf-8").split())
"""Forty names from each of nine regions."""

STRIDE = 101
"""Distance in the pool from one person of a grid to the next: more than a data set's 100 grids, and prime."""


def draw(count: int, place: int, seed: int) -> tuple[str, ...]:
    """Names for the people of one grid: the same for the same seed and place, different ones for another grid.

    The first people of a run's grids take names from the shuffled pool in turn, the second people from STRIDE names
    further on, the third from another STRIDE. So no name comes twice in a data set of up to 100 grids with three people
    each; in a larger one some do, but never within a grid. No grid depends on another, so the names do not change with
    the order in which captions come, with what a cut-off run has written, or with how many people other grids have.

    Args:
        count: number of people in the grid.
        place: number of the grid in its run, from 0.
    """
    pool = _shuffled(seed)
    return tuple(pool[(place + STRIDE * person) % len(pool)] for person in range(count))


@lru_cache(maxsize=1)
def _shuffled(seed: int) -> tuple[str, ...]:
    return tuple(random.Random(seed).sample(POOL, len(POOL)))
