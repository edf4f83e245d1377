"""Shots: different shots of a film near one another in time; stills of a film that lie in a folder, numbered."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Sequence
from functools import lru_cache

import numpy as np

from pipeline.grouping.explain import place_of, reject
from pipeline.grouping.strategies.base import Formed, Walk, together
from pipeline.grouping.structure import LOOSE, Stretch, stretches
from pipeline.grouping.vetoes import Veto, Vetoes
from pipeline.grouping.ways import Question
from pipeline.records import Record, Rejected
from pipeline.task import Task
from pipeline.wording import counted

COPIES = False
MOST_WAYS = 2_000
"""Possible groups that are asked about before an image is given up."""
AT_ONCE = 1024
"""Images in the windows that are asked about together: 15 MB for the vectors of their pairs."""


def form(records: Sequence[Record], task: Task, vetoes: Vetoes) -> Iterator[Formed | Rejected]:
    """Walks every film and every folder of stills from its start; each image is used at most once."""
    walks = (_along(stretch, task) for stretch in stretches(records, task, vetoes.pictures, sets=False))
    yield from together(walks, vetoes, max(1, AT_ONCE // task.group.window))


def _along(stretch: Stretch, task: Task) -> Walk:
    if not stretch.sound:
        few = len(stretch.records) < task.grid_layout.size
        return [reject(record, "no neighbours" if few else LOOSE, stretch.why) for record in stretch.records]
    made: list[Formed | Rejected] = []
    left, window = list(stretch.records), task.group.window
    while left:
        result = yield from _from_first(left[:window], task)
        if isinstance(result, Rejected):
            made.append(result)
            left.pop(0)
        else:
            made.append(Formed(result, place_of(result, stretch.why)))
            used = {record.id for record in result}
            left[:window] = [record for record in left[:window] if record.id not in used]
    return made


def _from_first(
    window: Sequence[Record], task: Task
) -> Generator[Question, tuple[Record, ...] | Veto, tuple[Record, ...] | Rejected]:
    """The first record with the nearest followers that no veto forbids."""
    first, others = window[0], task.grid_layout.size - 1
    near = [record for record in window[1:] if record.position.time - first.position.time <= task.group.span]
    if len(near) < others:
        return reject(first, "no neighbours", f"has {counted(near, 'neighbour')} left, {task.name} needs {others}")
    ways = _ways(len(near), others)
    chosen = yield Question([first, *near[: ways.max()]], ways)
    return chosen if not isinstance(chosen, Veto) else reject(first, "strangers", chosen.of_one("stand near it"))


@lru_cache(maxsize=256)
def _ways(followers: int, others: int) -> np.ndarray:
    """The first image, 0, with as many others of those that follow it, the nearest first: groups x panels."""
    chosen = itertools.islice(itertools.combinations(range(1, followers + 1), others), MOST_WAYS)
    return np.array([(0, *some) for some in chosen])
