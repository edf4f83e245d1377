"""Ready-made sets: what came as one set stays one, whatever it looks like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.grouping.explain import reject
from pipeline.grouping.strategies.base import Formed, by_key
from pipeline.grouping.vetoes import Vetoes
from pipeline.records import Record, Rejected
from pipeline.task import Task
from pipeline.wording import counted

COPIES = True


def form(records: Sequence[Record], task: Task, vetoes: Vetoes) -> Iterator[Formed | Rejected]:
    size = task.grid_layout.size
    for (_, name), members in by_key(records, lambda r: (r.position.folder, r.position.set)).items():
        if name and len(members) == size:
            yield Formed(tuple(sorted(members, key=lambda record: record.position.page)), f"came as one set, {name}")
            continue
        why = f"its set {name} has {counted(members, 'usable picture')}, {task.name} takes {size}"
        for record in members:
            yield reject(record, *(("incomplete set", why) if name else ("no set", "did not come as part of a set")))
