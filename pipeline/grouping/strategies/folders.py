"""Folders: one group a folder, or several where a larger folder's pictures belong together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.grouping.explain import reject
from pipeline.grouping.strategies.base import Formed
from pipeline.grouping.structure import LOOSE, Stretch, stretches
from pipeline.grouping.vetoes import Veto, Vetoes
from pipeline.records import Record, Rejected
from pipeline.task import Task
from pipeline.wording import counted

COPIES = False


def form(records: Sequence[Record], task: Task, vetoes: Vetoes) -> Iterator[Formed | Rejected]:
    """A folder is taken from its start, in the order of the panels that names say, else of the names; so is a film."""
    for stretch in stretches(records, task, vetoes.pictures, sets=True):
        if stretch.sound:
            yield from _along(stretch, task, vetoes)
            continue
        few = len(stretch.records) < task.grid_layout.size
        for record in stretch.records:
            yield reject(record, "incomplete folder" if few else LOOSE, stretch.why)


def _along(stretch: Stretch, task: Task, vetoes: Vetoes) -> Iterator[Formed | Rejected]:
    """Groups of pictures that follow one another; one that belongs with none of the next ones is left out."""
    left, size = list(stretch.records), task.grid_layout.size
    while len(left) >= size:
        chosen = vetoes.first([left[:size]])
        if not isinstance(chosen, Veto):
            names = ", ".join(record.position.stem for record in chosen)
            yield Formed(chosen, f"of {stretch.name}: {names} ({stretch.why})")
            del left[:size]
        elif stretch.whole:
            yield from (reject(record, "strangers", f"the pictures of {stretch.name} {chosen}") for record in left)
            return
        else:
            yield reject(left.pop(0), "strangers", f"it and the next pictures of {stretch.name} {chosen}")
    count = counted(len(stretch.records), "picture")
    why = f"is left over of {count} of {stretch.name}, of which each group takes {size}"
    yield from (reject(record, "left over", why) for record in left)
