"""Shots: different shots of a film near one another in time; stills of a film that lie in a folder, numbered."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from pipeline.grouping.explain import place_of, reject
from pipeline.grouping.strategies.base import Formed
from pipeline.grouping.structure import LOOSE, stretches
from pipeline.grouping.vetoes import Veto, Vetoes
from pipeline.records import Record, Rejected
from pipeline.task import Task
from pipeline.wording import counted

COPIES = False
MOST_WAYS = 2_000
"""Possible groups that are asked about before an image is given up."""


def form(records: Sequence[Record], task: Task, vetoes: Vetoes) -> Iterator[Formed | Rejected]:
    """Walks every film and every folder of stills from its start; each image is used at most once."""
    for stretch in stretches(records, task, vetoes.pictures, sets=False):
        if not stretch.sound:
            few = len(stretch.records) < task.grid_layout.size
            for record in stretch.records:
                yield reject(record, "no neighbours" if few else LOOSE, stretch.why)
            continue
        left, window = list(stretch.records), task.group.window
        while left:
            result = _from_first(left[:window], task, vetoes)
            yield result if isinstance(result, Rejected) else Formed(result, place_of(result, stretch.why))
            if isinstance(result, Rejected):
                left.pop(0)
            else:
                used = {record.id for record in result}
                left[:window] = [record for record in left[:window] if record.id not in used]


def _from_first(window: Sequence[Record], task: Task, vetoes: Vetoes) -> tuple[Record, ...] | Rejected:
    """The first record with the nearest followers that no veto forbids."""
    first, others = window[0], task.grid_layout.size - 1
    near = [record for record in window[1:] if record.position.time - first.position.time <= task.group.span]
    if len(near) < others:
        return reject(first, "no neighbours", f"has {counted(near, 'neighbour')} left, {task.name} needs {others}")
    ways = itertools.islice(itertools.combinations(near, others), MOST_WAYS)
    chosen = vetoes.first([(first, *followers) for followers in ways])
    return chosen if not isinstance(chosen, Veto) else reject(first, "strangers", chosen.of_one("stand near it"))
