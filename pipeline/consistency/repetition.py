"""Grids with nearly the same panels as an earlier one: for each grid, the most similar of those before it.

Grids are compared block by block, so that the product of large matrices does the work, and by some of their panels: the
others are looked at only where these would allow a larger overlap than what was found before. Only grids of the same
block are compared one by one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np

BLOCK, AGAINST = 64, 4096
"""Grids that are compared at once with so many others: 6 MB of cosines for grids of three panels."""
PAIRS = 256
"""Pairs of grids of which all panels are compared at once: 3 MB for three panels of 512 numbers."""
ROUNDED = 1e-5
"""More than a cosine is off by rounding."""


def overlap(panels: np.ndarray, earlier: np.ndarray) -> np.ndarray:
    """How nearly each of some earlier grids contains a grid's panels: the cosine similarity to their best match in it
    that all but a third of the panels reach. It is the same to the last bit, whatever is compared beside it.

    Args:
        panels: grids x panels x dimensions.
        earlier: as many earlier grids x panels x dimensions, or either is one grid.

    Returns:
        One value per pair of grids.
    """
    best = (panels @ earlier.transpose(0, 2, 1)).max(axis=2)
    may_miss = best.shape[1] // 3
    reached: np.ndarray = np.partition(best, may_miss, axis=1)[:, may_miss]
    return reached


def matches(panels: np.ndarray, earlier: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best and the worst match, in earlier grids, of a third of the panels of each grid and one more: but for
    rounding, no overlap is larger than the best, since these panels are not all among those that may miss.

    Args:
        panels: grids x panels x dimensions; likewise `earlier`.

    Returns:
        Earlier grids x grids each.
    """
    some = panels[:, : panels.shape[1] // 3 + 1].transpose(1, 0, 2)  # panel by panel, so that rows are long
    cosines = earlier.reshape(-1, earlier.shape[-1]) @ some.reshape(-1, some.shape[-1]).T
    best = cosines.reshape(len(earlier), earlier.shape[1], len(some), len(panels)).max(axis=1)
    return best.max(axis=1), best.min(axis=1)


@dataclass(frozen=True)
class Earlier:
    """The most similar earlier grid of each grid of a run."""

    overlaps: np.ndarray
    """With it; NaN for the first grid."""
    places: np.ndarray
    """Its place, the first of equals; -1 for the first grid."""


def earlier(panels: np.ndarray) -> Earlier:
    """
    Args:
        panels: grids x panels x dimensions.
    """
    seen = Seen(panels, range(len(panels)))
    overlaps, places = np.full(len(panels), np.nan), np.full(len(panels), -1)
    for number in range(len(panels)):
        if nearest := seen.nearest(number):
            overlaps[number], places[number] = nearest
        seen.add(number)
    return Earlier(overlaps, places)


class Seen:
    """Grids that were seen so far, and for each new one the most similar of them."""

    def __init__(self, panels: np.ndarray, asked: Sequence[int]) -> None:
        """
        Args:
            panels: of all grids: grids x panels x dimensions.
            asked: the grids that will be asked about, in order. One may be asked about that is not among them, which
                takes longer.
        """
        self._panels, self._asked, self._numbers = panels, asked, list[int]()
        self._before = np.empty_like(panels)
        self._block: dict[int, int] = {}
        self._known = 0
        self._values, self._places = np.zeros(0), np.zeros(0, int)

    def add(self, number: int) -> None:
        self._before[len(self._numbers)] = self._panels[number]
        self._numbers.append(number)

    def nearest(self, number: int) -> tuple[float, int] | None:
        """The overlap with the most similar grid seen so far, the first of equals, and its number; None for none."""
        if number not in self._block:
            self._compare(number)
        place = self._block[number]
        found = [(float(self._values[place]), int(self._places[place]))] if self._known else []
        if self._known < len(self._numbers):
            since = overlap(self._panels[number][None], self._before[self._known : len(self._numbers)])
            found.append((float(since.max()), self._known + int(since.argmax())))
        if not found:
            return None
        value, first = max(found, key=lambda one: one[0])
        return value, self._numbers[first]

    def _compare(self, number: int) -> None:
        """Compares the block that begins with this grid with all grids seen before it."""
        following = bisect_right(self._asked, number)
        numbers = [number, *self._asked[following : following + BLOCK - 1]]
        block = self._panels[numbers]
        self._block, self._known = {one: place for place, one in enumerate(numbers)}, len(self._numbers)
        self._values, self._places = np.full(len(block), -np.inf), np.zeros(len(block), int)
        for first in range(0, self._known, AGAINST):
            best, worst = matches(block, self._before[first : min(first + AGAINST, self._known)])
            self._try(block, first + worst.argmax(axis=0), np.arange(len(block)))  # very likely among the nearest
            places, ones = np.nonzero(best >= self._values - ROUNDED)
            self._try(block, first + places, ones)

    def _try(self, block: np.ndarray, places: np.ndarray, ones: np.ndarray) -> None:
        """Compares some pairs: places of grids seen before, in order, and which of the block each is compared with."""
        for start in range(0, len(ones), PAIRS):
            place, one = places[start : start + PAIRS], ones[start : start + PAIRS]
            values = overlap(block[one], self._before[place])
            order = np.lexsort((place, -values, one))
            first = order[np.diff(one[order], prepend=-1) > 0]  # of each of the block
            one, place, values = one[first], place[first], values[first]
            nearer = (values > self._values[one]) | ((values == self._values[one]) & (place < self._places[one]))
            self._values[one[nearer]], self._places[one[nearer]] = values[nearer], place[nearer]


class Kept:
    """The grids that were kept so far, and for each new one the most similar of them.

    That is the most similar of all earlier ones, unless it was not kept: only then are the kept ones compared.
    """

    def __init__(self, panels: np.ndarray, known: Earlier, out: Set[int]) -> None:
        """
        Args:
            panels: of all grids: grids x panels x dimensions.
            known: what `earlier` says of them.
            out: grids of which it is known that they are not kept.
        """
        self._known, self._kept = known, set[int]()
        self._seen = Seen(panels, [number for number, place in enumerate(known.places.tolist()) if place in out])

    def add(self, number: int) -> None:
        self._kept.add(number)
        self._seen.add(number)

    def nearest(self, number: int) -> tuple[float, int] | None:
        """As `Seen.nearest`."""
        place = int(self._known.places[number])
        if place in self._kept:
            return float(self._known.overlaps[number]), place
        return self._seen.nearest(number) if self._kept else None
