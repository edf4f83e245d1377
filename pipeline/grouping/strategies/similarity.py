"""Similarity: the nearest neighbours by the scorer's vectors, or by colours without one, wherever they are.

Neighbours are alike enough not to be there by chance, but not copies. Groups are packed greedily along the graph of
nearest neighbours: the most alike pair first, then whichever neighbour is most like all of the group.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

import numpy as np

from pipeline.duplicates.vectors import nearest
from pipeline.files import natural
from pipeline.grouping.explain import name_of, reject
from pipeline.grouping.strategies.base import Formed
from pipeline.grouping.vetoes import Vetoes
from pipeline.records import Record, Rejected
from pipeline.task import Task

COPIES = False
NEIGHBOURS = 24
"""Of every image that are looked at."""
SAMPLE = 4_000
"""Pairs drawn at random, by which similarity by chance is known."""
DEVIATIONS = 3.0
"""Above the median of random pairs, from where on two images are alike for a reason: 1 in 740 normal values is."""
SEED = 17


def form(records: Sequence[Record], task: Task, vetoes: Vetoes) -> Iterator[Formed | Rejected]:
    """Whatever the order of the records, the same groups."""
    ordered = sorted(records, key=lambda one: (natural(one.source), one.position.shot, one.position.page, one.id))
    if not ordered:
        return
    vectors = vetoes.pictures.compared_rows(ordered)
    floor = floor_of(vectors) if task.group.related is None else task.group.related
    together = _window(ordered, task)
    edges = _edges(vectors, floor, together)
    free = set(range(len(ordered)))
    for group, least in _pack(edges, vectors, task.grid_layout.size, floor, free, together):
        chosen = tuple(ordered[place] for place in sorted(group))
        why = f"alike by {least:.2f} or more in {vetoes.pictures.by}, floor {floor:.2f}"
        yield Formed(chosen, f"{why}: {', '.join(map(name_of, chosen))}")
    near: dict[int, float] = defaultdict(float)
    for similarity, one, other in edges:
        near[one], near[other] = max(near[one], similarity), max(near[other], similarity)
    for place in sorted(free):
        if place in near:
            why = f"too few that are as alike as {near[place]:.2f} are left for a group of {task.grid_layout.size}"
        else:
            why = f"is like no other by the floor {floor:.2f} of similarity in {vetoes.pictures.by}"
        yield reject(ordered[place], "no neighbours", why)


def floor_of(vectors: np.ndarray) -> float:
    """The similarity from which on two images are alike for a reason.

    Most random pairs are of unrelated images, so median and spread are estimated from these; the spread from the lower
    half, in which there are no related ones.
    """
    rng = np.random.default_rng(SEED)
    one, other = rng.integers(len(vectors), size=(2, SAMPLE))
    cosines = (vectors[one] * vectors[other]).sum(axis=1)[one != other]
    if not len(cosines):
        return 1.0
    middle = float(np.median(cosines))
    return middle + DEVIATIONS * 1.4826 * float(np.median(middle - cosines[cosines <= middle]))


def _window(records: Sequence[Record], task: Task) -> Callable[[int, int], bool]:
    """Whether two images are near enough in the source to be in one group."""
    if task.group.within == "source":
        return lambda one, other: True
    places = [(record.position.folder, record.position.film) for record in records]
    if task.group.within == "folder":
        return lambda one, other: places[one] == places[other]
    times = [_seconds(record) for record in records]

    def near(one: int, other: int) -> bool:
        first, second = times[one], times[other]
        photographs = not records[one].position.film and not records[other].position.film
        same_film = photographs or places[one] == places[other]
        return same_film and first is not None and second is not None and abs(first - second) <= task.group.span

    return near


def _seconds(record: Record) -> float | None:
    """When an image was taken: within its film, else by its date; None if that is unknown."""
    if record.position.film:
        return record.position.time
    for form_ in ("%Y:%m:%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"):
        try:
            return (datetime.strptime(record.date[:19], form_) - datetime(1970, 1, 1)).total_seconds()
        except ValueError:
            continue
    return None


Edge = tuple[float, int, int]


def _edges(vectors: np.ndarray, floor: float, together: Callable[[int, int], bool]) -> list[Edge]:
    """Pairs of neighbours that are alike enough, the most alike first."""
    every = np.arange(len(vectors))
    similarity, place = nearest(vectors, every, every, NEIGHBOURS + 1)
    one = np.repeat(every, place.shape[1])
    other, cosines = place.ravel(), similarity.ravel()
    good = (one != other) & (other >= 0) & (cosines >= floor)
    pairs = {(min(pair), max(pair)) for pair in zip(one[good].tolist(), other[good].tolist(), strict=True)}
    found = [(float(vectors[a] @ vectors[b]), a, b) for a, b in pairs if together(a, b)]
    return sorted(found, key=lambda edge: (-round(edge[0], 5), edge[1], edge[2]))


def _pack(
    edges: Sequence[Edge],
    vectors: np.ndarray,
    size: int,
    floor: float,
    free: set[int],
    together: Callable[[int, int], bool],
) -> Iterator[tuple[list[int], float]]:
    """Groups of free images, which are free no longer, and the least similarity within each."""
    if size == 1:
        for place in sorted(free):
            free.discard(place)
            yield [place], 1.0
        return
    linked: dict[int, list[int]] = defaultdict(list)
    for _, one, other in edges:
        linked[one].append(other)
        linked[other].append(one)
    for cosine, one, other in edges:
        group, least = [one, other], cosine
        while len(group) < size and free.issuperset(group):
            rivals = sorted({near for member in group for near in linked[member]} & free - set(group))
            rivals = [near for near in rivals if all(together(near, member) for member in group)]
            likeness = (vectors[rivals] @ vectors[group].T).min(axis=1) if rivals else np.empty(0)
            if not len(likeness) or likeness.max() < floor:
                break
            group.append(rivals[int(np.argmax(np.round(likeness, 5)))])
            least = min(least, float(likeness.max()))
        if len(group) == size and free.issuperset(group):
            free.difference_update(group)
            yield group, least
