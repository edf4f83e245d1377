"""Names for the people in captions: short, from many places, each culture and each gender with the same share."""

from __future__ import annotations

import random
from pathlib import Path

POOL = tuple((Path(__file__).parent / "names.txt").read_text(encoding="utf-8").split())
"""180 names; `draw` gives none twice before all have been used."""


def draw(count: int, place: int, seed: int) -> tuple[str, ...]:
    """Names for the people of one grid: the same for the same seed and place, others for another grid.

    Args:
        count: people in the grid.
        place: number of the grid in its run; grids are given `SLOTS` names each before the pool starts again.
    """
    pool = random.Random(seed).sample(POOL, len(POOL))
    return tuple(pool[(place * SLOTS + person) % len(pool)] for person in range(count))


SLOTS = 2
"""People that a grid has most often at most; a third takes the first name of the next grid."""
