"""Folders: one group a folder, or several where a larger folder's pictures belong together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.grouping.explain import reject
from pipeline.grouping.strategies.base import Formed, Walk, together
from pipeline.grouping.structure import LOOSE, Stretch, stretches
from pipeline.grouping.vetoes import Veto, Vetoes
from pipeline.grouping.ways import Question
from pipeline.records import Record, Rejected
from pipeline.task import Task
from pipeline.wording import counted

COPIES = False


def form(records: Sequence[Record], task: Task, vetoes: Vetoes) -> Iterator[Formed | Rejected]:
    """A folder is taken from its start, in the order of the panels that names say, else of the names; so is a film."""
    walks = (_along(stretch, task) for stretch in stretches(records, task, vetoes.pictures, sets=True))
    yield from together(walks, vetoes)


def _along(stretch: Stretch, task: Task) -> Walk:
    """Groups of pictures that follow one another; one that belongs with none of the next ones is left out."""
    left, size = list(stretch.records), task.grid_layout.size
    if not stretch.sound:
        reason = "incomplete folder" if len(left) < size else LOOSE
        return [reject(record, reason, stretch.why) for record in left]
    made: list[Formed | Rejected] = []
    while len(left) >= size:
        chosen = yield Question.of([left[:size]])
        if not isinstance(chosen, Veto):
            names = ", ".join(record.position.stem for record in chosen)
            made.append(Formed(chosen, f"of {stretch.name}: {names} ({stretch.why})"))
            del left[:size]
        elif stretch.whole:
            why = f"the pictures of {stretch.name} {chosen}"
            return [reject(record, "strangers", why) for record in left]
        else:
            made.append(reject(left.pop(0), "strangers", f"it and the next pictures of {stretch.name} {chosen}"))
    count = counted(len(stretch.records), "picture")
    why = f"is left over of {count} of {stretch.name}, of which each group takes {size}"
    return [*made, *(reject(record, "left over", why) for record in left)]
