"""Names for the people in captions: short, from many places, each culture and each gender with the same share."""

from __future__ import annotations

import random
from pathlib import Path

POOL = tuple((Path(__file__).parent / "names.txt").read_text(encoding="utf-8").split())
"""Nine regions with forty names each."""

STRIDE = 101
"""From one person of a grid to the next: more than the 100 grids that a data set has at most, and prime."""


def draw(count: int, place: int, seed: int) -> tuple[str, ...]:
    """Names for the people of one grid: the same for the same seed and place, others for another grid.

    A run's grids take the shuffled pool in turn, their second people the next STRIDE names, their third people the
    STRIDE after those. So no name comes twice in a data set of up to 100 grids with three people each; beyond that
    some do, but never two in one grid. A grid needs to know nothing of the others, so the names do not hang on the
    order in which captions come, on what a cut-off run had written, or on how many people other grids have.

    Args:
        count: people in the grid.
        place: number of the grid in its run.
    """
    pool = random.Random(seed).sample(POOL, len(POOL))
    return tuple(pool[(place + STRIDE * person) % len(pool)] for person in range(count))
