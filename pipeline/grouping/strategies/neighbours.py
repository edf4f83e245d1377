"""Neighbours: nearby shots of a film, or images that follow one another in a folder."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from pipeline.grouping.explain import place_of, reject
from pipeline.grouping.strategies.base import Formed, by_key, sequence_of
from pipeline.grouping.vetoes import Veto, Vetoes
from pipeline.records import Record, Rejected
from pipeline.task import Task
from pipeline.wording import counted

COPIES = False


def form(records: Sequence[Record], task: Task, vetoes: Vetoes) -> Iterator[Formed | Rejected]:
    """Walks every film and folder from its start; each image is used at most once."""
    for sequence in by_key(records, sequence_of).values():
        left, window = list(sequence), task.group.window
        while left:
            result = _from_first(left[:window], task, vetoes)
            yield result
            if isinstance(result, Rejected):
                left.pop(0)
            else:
                left[:window] = [record for record in left[:window] if record not in result.records]


def _from_first(window: Sequence[Record], task: Task, vetoes: Vetoes) -> Formed | Rejected:
    """The first record with the nearest followers that no veto forbids."""
    first, others = window[0], task.grid_layout.size - 1
    near = [record for record in window[1:] if record.position.time - first.position.time <= task.group.span]
    if len(near) < others:
        return reject(first, "no neighbours", f"has {counted(near, 'neighbour')} left, {task.name} needs {others}")
    chosen = vetoes.first([(first, *followers) for followers in itertools.combinations(near, others)])
    if not isinstance(chosen, Veto):
        return Formed(chosen, place_of(chosen))
    if chosen.likenesses:
        why = f"belongs with none of those that stand near it ({chosen.likenesses})"
    else:
        why = f"is less alike than the floor {chosen.floor:g} to all that stand near it"
    return reject(first, "strangers", why)
