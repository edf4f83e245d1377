"""Which groups are taken where there are more than a task wants."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from pipeline.grouping.explain import reject
from pipeline.grouping.pictures import Pictures
from pipeline.grouping.strategies.base import by_key, sequence_of
from pipeline.records import Group, Rejected
from pipeline.task import Task


def choose(
    groups: Sequence[Group], most: int, task: Task, pictures: Pictures
) -> tuple[Sequence[Group], list[Rejected]]:
    """At most so many groups: from each film or folder in turn the one least like those already taken."""
    if len(groups) <= most:
        return groups, []
    waiting = by_key(groups, lambda group: sequence_of(group.records[0]))
    means = {group.id: pictures.mean_colours(group.records) for group in groups}
    nearest = {group.id: -1.0 for group in groups}
    taken: set[str] = set()
    for key in itertools.cycle(list(waiting)):
        if len(taken) >= most:
            break
        if not waiting[key]:
            continue
        best = min(waiting[key], key=lambda group: nearest[group.id])
        waiting[key].remove(best)
        taken.add(best.id)
        for group in groups:
            nearest[group.id] = max(nearest[group.id], float(means[group.id] @ means[best.id]))
    why = f"its group was not needed: {task.name} takes at most {task.grids[1]} grids"
    left = [reject(record, "not needed", why) for group in groups if group.id not in taken for record in group.records]
    return [group for group in groups if group.id in taken], left
