"""Another crop, moment or exposure of the same thing: alike by a scorer's vectors, and by colours."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from operator import itemgetter

import numpy as np

from pipeline.duplicates.base import Copy, Limits, Looks
from pipeline.duplicates.cells import AT_ONCE, Cells
from pipeline.rows import Rows

FIRST = 8
"""Alike pictures before a picture that are looked at in the first round; in each further one they are twice as many."""
PAIRS = 1 << 15
"""Pairs whose colours are compared at once: 32 MB."""
HELD = 1 << 20
"""Pairs that are held before those that can't be needed are let go."""


def copies(looks: Looks, order: np.ndarray, limits: Limits, fixed: int) -> Iterator[Copy]:
    """Pictures whose vectors and colours are at least as alike as the limits say; `finding` explains the arguments.

    Goes through them in their order: each is a copy of the first that stays and is alike, or stays. Where all that were
    looked at have gone themselves, and there are more, that is open until more are looked at.
    """
    if looks.vectors is None or limits.vectors is None:
        return
    search = _Search(looks, order, limits, fixed)
    gone, count = np.zeros(len(search.among), bool), FIRST
    open_ = np.arange(len(search.asked))
    while len(open_):
        unknown = set[int]()
        found = zip(*search.before(open_, gone, count + 1), strict=True)
        for place, pairs in itertools.groupby(found, itemgetter(0)):
            alike = [other for _, other in pairs]
            first = next((other for other in alike[:count] if not gone[other]), -1)
            if first in unknown or (first < 0 and len(alike) > count):
                unknown.add(place)
            elif first >= 0:
                row, of = int(search.asked[place]), int(search.among[first])
                if not fixed:
                    gone[place] = True
                cosine = float(looks.vectors[row] @ looks.vectors[of])
                yield Copy(row, of, f"vectors alike by {cosine:.3f}, ceiling {limits.vectors:g}")
        open_, count = np.array(sorted(unknown), int), 2 * count


class _Search:
    """Looks for what comes before a picture in the order and is alike."""

    def __init__(self, looks: Looks, order: np.ndarray, limits: Limits, fixed: int) -> None:
        assert looks.vectors is not None
        assert limits.vectors is not None
        readable = order[_readable(looks.vectors, order)]
        self.asked = self.among = readable
        """Rows of which copies are looked for, and of those that they may be copies of, in their order."""
        if fixed:
            self.asked, self.among = readable[readable >= fixed], readable[readable < fixed]
        self._colours, self._least, self._least_colours = looks.colours, limits.vectors, limits.colours
        self._cells, self._themselves = Cells(looks.vectors, self.among), not fixed

    def before(self, open_: np.ndarray, gone: np.ndarray, most: int) -> tuple[list[int], list[int]]:
        """Pairs of alike pictures: places among the asked ones, and of those before them; in order of both.

        Args:
            open_: places of those that are asked for, in order.
            gone: which pictures do not count.
            most: pairs per picture: the first.
        """
        held, count = [np.empty((2, 0), int)], 0
        whole = len(open_) == len(self.asked)
        for asking, members, cosines in self._cells.compared(self.asked if whole else self.asked[open_]):
            places = open_[asking]
            near = (cosines >= self._least) & ~gone[members]
            if self._themselves:
                near &= members < places[:, None]
            one, other = np.nonzero(near)
            pairs = self._of_like_colours(np.stack([places[one], members[other]]))
            held.append(pairs)
            count += pairs.shape[1]
            if count > HELD:
                held, count = [_first(np.concatenate(held, axis=1), most)], 0
        one, other = _first(np.concatenate(held, axis=1), most)
        return one.tolist(), other.tolist()

    def _of_like_colours(self, pairs: np.ndarray) -> np.ndarray:
        alike = [np.empty(0, bool)]
        for start in range(0, pairs.shape[1], PAIRS):
            one, other = pairs[:, start : start + PAIRS]
            cosines = np.einsum("ij,ij->i", self._colours[self.asked[one]], self._colours[self.among[other]])
            alike.append(cosines >= self._least_colours)
        return pairs[:, np.concatenate(alike)]


def _readable(vectors: Rows, order: np.ndarray) -> np.ndarray:
    """Which of some rows are no NaN."""
    parts = (vectors[order[start : start + AT_ONCE]] for start in range(0, len(order), AT_ONCE))
    return np.concatenate([np.empty(0, bool), *(~np.isnan(part).any(axis=1) for part in parts)])


def _first(pairs: np.ndarray, most: int) -> np.ndarray:
    """Pairs in order, at most so many of each first one."""
    pairs = pairs[:, np.lexsort(pairs[::-1])]
    starts = np.searchsorted(pairs[0], pairs[0])
    return pairs[:, np.arange(pairs.shape[1]) - starts < most]


def nearest(vectors: Rows, queries: np.ndarray, among: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The vectors that are most similar to each of some.

    Args:
        vectors: unit vectors, vectors x dimensions.
        queries: rows of them whose nearest are looked for.
        among: rows that are looked at.
        count: of vectors per query; fewer if there are not so many.

    Returns:
        Cosine similarities, the highest first, and places in `among`, the first of equals first; -1 where the cells
        searched hold too few. Queries x count each.
    """
    count = min(count, len(among))
    cosines, places = np.full((len(queries), count), -np.inf, np.float32), np.full((len(queries), count), -1)
    for asking, members, found in Cells(vectors, among).compared(queries):
        better = found.max(axis=1) > cosines[asking, -1]
        here, near = asking[better], found[better]
        where = np.broadcast_to(members, near.shape)
        if count < len(members):
            top = np.argpartition(-near, count - 1, axis=1)[:, :count]
            near, where = np.take_along_axis(near, top, axis=1), members[top]
        near, where = np.hstack([cosines[here], near]), np.hstack([places[here], where])
        order = np.lexsort((where, -near))[:, :count]
        cosines[here], places[here] = np.take_along_axis(near, order, axis=1), np.take_along_axis(where, order, axis=1)
    return cosines, places
