"""Which groups are taken where a task wants fewer: those that cover the pool, balanced over its sources."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from pipeline.grouping.explain import reject
from pipeline.grouping.pictures import Pictures
from pipeline.grouping.strategies.base import sequence_of
from pipeline.records import Group, Rejected
from pipeline.task import Task

REFRESHED = 512
"""Groups whose distance to those taken is brought up to date at once, in AGES parts."""
AGES = 16
PIECEMEAL = 4
"""How much longer a comparison takes in small products than in large ones, about."""
MOST = 4096
"""Groups that are compared in one product."""
COMPARISONS = 1 << 34
"""Groups times those taken of them, from which sources are dealt into parts and only those of one part are compared:
what two films have in common matters less than what one film shows twice (`bench.scale` tells the loss)."""


def choose(
    groups: Sequence[Group], most: int, task: Task, pictures: Pictures
) -> tuple[Sequence[Group], list[Rejected]]:
    """At most so many groups, and at most so many from one film or folder: from each source in turn the one that is
    least like those already taken."""
    sources = [sequence_of(group.records[0]) for group in groups]
    limit = per_source(task, len(set(sources)))
    if len(groups) <= most and max(Counter(sources).values(), default=0) <= limit:
        return groups, []
    taken = farthest_first(pictures.means([group.records for group in groups]), sources, max(0, most), limit)
    full = {source for source, count in Counter(sources[place] for place in taken).items() if count >= limit}
    enough = f"its group was not needed: {task.name} takes at most {task.grids[1]} grids"
    left: list[Rejected] = []
    for place, group in enumerate(groups):
        if place not in taken:
            why = enough
            if len(taken) < most and sources[place] in full:
                folder, film = sources[place]
                why = f"its group was not needed: {limit} are from {film or folder} already (group.per_source)"
            left += [reject(record, "not needed", why) for record in group.records]
    return [group for place, group in enumerate(groups) if place in taken], left


def per_source(task: Task, sources: int) -> int:
    """How many groups one film or folder may give.

    Unless set, half of the grids that a task takes, but no fewer than it needs at least, and any number if there is
    only one source.
    """
    if task.group.per_source is not None:
        return task.group.per_source
    return task.grids[1] if sources <= 1 else max(task.grids[0], task.grids[1] // 2)


def farthest_first(vectors: np.ndarray, sources: Sequence[Hashable], most: int, limit: int) -> set[int]:
    """Places of the vectors that are taken: from each source in turn the one whose most similar taken one is least
    similar (Gonzalez 1985, "Clustering to minimize the maximum intercluster distance", with cosines).

    Args:
        vectors: unit vectors, groups x dimensions.
        most: how many are taken at most; of each source at most `limit`.
    """
    by_source: dict[Hashable, list[int]] = {}
    for place, source in enumerate(sources):
        by_source.setdefault(source, []).append(place)
    shares = _shares([min(limit, len(places)) for places in by_source.values()], most)
    parts = max(1, -(-len(sources) * most // COMPARISONS))
    taken: set[int] = set()
    for part in range(parts):
        own = dict(itertools.islice(by_source.items(), part, None, parts))
        taken |= _taken(vectors, own, sum(shares[part::parts]), limit)
    return taken


def _shares(sizes: Sequence[int], most: int) -> list[int]:
    """How many each source gives where they give one in turn, each as long as it has any."""
    left, shares = min(most, sum(sizes)), [0] * len(sizes)
    while left > 0:
        waiting = [place for place, size in enumerate(sizes) if shares[place] < size]
        least = min(sizes[place] - shares[place] for place in waiting)
        each = max(1, min(left // len(waiting), least))
        for place in waiting[:left]:
            shares[place] += each
        left -= each * len(waiting[:left])
    return shares


def _taken(vectors: np.ndarray, by_source: Mapping[Hashable, list[int]], most: int, limit: int) -> set[int]:
    """As `farthest_first`, of some sources."""
    waiting = {source: _Waiting(np.array(places)) for source, places in by_source.items()}
    taken: list[int] = []
    apart = np.empty((most, vectors.shape[1]), vectors.dtype)  # theirs in one place: gathering them takes longest
    for source in itertools.cycle(by_source):
        if len(taken) >= most or not waiting:
            break
        if source not in waiting:
            continue
        place = waiting[source].take(vectors, apart[: len(taken)])
        apart[len(taken)] = vectors[place]
        taken.append(place)
        if waiting[source].gone >= min(limit, len(by_source[source])):
            del waiting[source]
    return set(taken)


class _Waiting:
    """Groups of one source that are not taken yet, and how near they are to those that are.

    Nearness only grows as more are taken, so an old value is a lower bound: only the groups that seem farthest are
    brought up to date before one is taken. Where they all seem alike, so that this has cost as much as bringing all
    groups up to date at once, that is done, in products of large matrices.
    """

    def __init__(self, places: np.ndarray) -> None:
        self.places, self.gone = places, 0
        self._near = np.full(len(places), -2.0, np.float32)
        """Cosine similarity to the nearest of the taken ones that were there at the last look; 2 for a taken one."""
        self._seen = np.zeros(len(places), int)
        """How many were taken at the last look."""
        self._spent = 0
        """Comparisons since all were brought up to date."""

    def take(self, vectors: np.ndarray, taken: np.ndarray) -> int:
        """The place of the group that is farthest from all taken ones, the first of equals.

        Args:
            taken: vectors of those taken, in their order.
        """
        while self._seen[best := int(np.argmin(self._near))] < len(taken):
            behind = np.maximum(len(taken) - self._seen, 0)
            if PIECEMEAL * self._spent >= behind.sum():
                some, self._spent = np.flatnonzero(behind), 0
            else:
                count = min(REFRESHED, len(self._near))
                some = np.argpartition(self._near, count - 1)[:count]
                some = some[behind[some] > 0]
                if not len(some):  # all of these are up to date, and yet the first of equals is not among them
                    some = np.array([best])
                self._spent += int(behind[some].sum())
            self._update(some, vectors, taken)
        self._near[best], self._seen[best] = 2.0, np.iinfo(int).max
        self.gone += 1
        return int(self.places[best])

    def _update(self, some: np.ndarray, vectors: np.ndarray, taken: np.ndarray) -> None:
        """Compares groups with those taken since the last look at them."""
        some = some[np.argsort(self._seen[some], kind="stable")]
        parts = max(min(AGES, len(some)), -(-len(some) // MOST))
        for part in np.array_split(some, parts):  # of much the same age, to look at few taken ones
            since = taken[int(self._seen[part[0]]) :]
            near = (vectors[self.places[part]] @ since.T).max(axis=1)
            self._near[part] = np.maximum(self._near[part], near)
        self._seen[some] = len(taken)
