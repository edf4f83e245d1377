"""Which pictures of a source stand together in it for a reason that a person would give: a film, a folder, names."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np

from pipeline.consistency.belonging import LEAST_AREA
from pipeline.grouping import coherence, subjects
from pipeline.grouping.pictures import Pictures, Tested
from pipeline.grouping.strategies.base import by_key, sequence_of
from pipeline.records import Record
from pipeline.rows import Chosen, Rows, Without
from pipeline.task import Task
from pipeline.wording import counted

WAYS = (
    "put what belongs together into a folder of its own, name it alike (chair_front, chair_back), or list it in a "
    "table with a column 'group'; or let looks decide with --set group.by=similarity; or, if a folder is one set, use "
    "--set group.prove=false"
)
"""What a person can do about pictures that nothing ties together."""
LOOSE = "no structure"
"""Reason of the rejection of pictures that nothing ties together."""
FEW = 2
"""Groups up to which a folder of numbered pictures is small: somebody has put them together."""
ALIKE = 0.5
"""Mean similarity in colour that a few pictures need which only a camera has numbered, or which are named alike among
many others. One in a hundred sets of six unrelated photographs has it; panels of the published storyboards have 0.7."""


@dataclass(frozen=True)
class Stretch:
    """Pictures that stand together, in order."""

    records: tuple[Record, ...]
    name: str
    """What a person calls it: a film, or a folder and what of it."""
    why: str
    """Why they may form groups; if they may not, what is said of each of them, as a predicate."""
    sound: bool
    """Whether they may form groups."""
    whole: bool = False
    """Whether it is exactly one group."""


def stretches(records: Sequence[Record], task: Task, pictures: Pictures, *, sets: bool) -> Iterator[Stretch]:
    """The films and folders of a source, folders by what their names say they show; every picture is in one.

    The shots of a film stand together. A folder of exactly as many pictures as the task has panels is one group, and
    one of numbered pictures for at most FEW groups is a set. More pictures have to show it: by an order in which
    neighbours are alike, or by being more alike than the pictures of the whole source. So have a few that are named
    alike in a folder whose other names say nothing, and those that only a camera has numbered.

    Args:
        sets: whether that goes for pictures without numbers too; else these are in no order, and so form no groups.
    """
    source = _Source(records, pictures)
    known = pictures.tested.setdefault(id(records), Tested(records)).sound
    for (folder, film), those in by_key(records, sequence_of).items():
        if film:
            yield Stretch(tuple(those), film, "shots of one film", sound=True)
            continue
        parts = subjects.parted(those, task)
        ruled = 2 * sum(len(part) for subject, part in parts.items() if subject and len(part) > 1) >= len(those)
        for subject, part in parts.items():
            name = PurePath(folder).name or folder
            name += f", named {subject}" if subject and len(parts) > 1 else ""
            ordered = subjects.in_order(part, task)
            apart = len(parts) == 1 or ruled or subjects.are_views(part)
            key = sets, apart, tuple(record.id for record in ordered)
            if key not in known:
                known[key] = _reason(ordered, source, task, sets=sets, apart=apart)
            why, sound = known[key]
            why = why if sound else why.replace("{name}", name)
            yield Stretch(tuple(ordered), name, why, sound, whole=len(ordered) == task.grid_layout.size)


class _Source:
    """The pictures of a source, than which those of a folder may be more alike."""

    def __init__(self, records: Sequence[Record], pictures: Pictures) -> None:
        self.pictures, self._records = pictures, records

    def others(self, part: Sequence[Record]) -> Rows:
        """`Pictures.compared` of all pictures but some of them."""
        own = self.pictures.rows_of([part])[0]
        gone = self._order[np.searchsorted(self._rows, own, sorter=self._order)]
        return Without(Chosen(self.pictures.compared, self._rows), gone)

    @functools.cached_property
    def _rows(self) -> np.ndarray:
        found: np.ndarray = self.pictures.rows_of([self._records])[0]
        return found

    @functools.cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self._rows)


def _reason(part: Sequence[Record], source: _Source, task: Task, *, sets: bool, apart: bool) -> tuple[str, bool]:
    """Why pictures of a folder may form groups or not, and whether they may.

    Args:
        apart: whether the folder, or the names in it, set these pictures apart from others.
    """
    size, numbered = task.grid_layout.size, subjects.are_numbered(part)
    if len(part) < size:
        return f"{{name}} has only {counted(part, 'picture')} left, {task.name} takes {size}", False
    if apart and len(part) == size:
        return f"{size} pictures", True
    if not task.group.prove:
        return "one set, as group.prove=false says", True
    if len(part) <= FEW * size:
        alike = source.pictures.likeness(part)[1] >= ALIKE
        if numbered and apart and (alike or not subjects.are_counted_by_cameras(part)):
            return f"{len(part)} numbered pictures", True
        if not apart and not alike:
            return f"is one of {len(part)} pictures of {{name}} whose colours are not alike", False
    return _tested(part, source, size if numbered else 0, sets=sets or numbered)


def _tested(part: Sequence[Record], source: _Source, size: int, *, sets: bool) -> tuple[str, bool]:
    """Whether the looks of pictures say that they belong together.

    Args:
        size: of a group; 0 if the pictures are in no order.
        sets: whether it is enough that they are more alike than others.
    """
    own = source.pictures.compared_rows(part)
    in_order = coherence.of_order(own, size) if size else coherence.NONE
    as_set = coherence.of_set(own, source.others(part)) if sets else coherence.NONE
    best = max(in_order, as_set, key=lambda one: (one.holds, one.area))
    if not best.holds:
        value = f" (ROC AUC {best.area:.2f}, at least {LEAST_AREA} is needed)" if best.chance < 1 else ""
        return f"is one of {len(part)} pictures of {{name}} that nothing ties together{value}", False
    how = "alike in the order of their names" if best is in_order else "more alike than others of the source"
    return f"{how}, ROC AUC {best.area:.2f}", True


def ways_on(loose: Sequence[Record]) -> str:
    """What to do with pictures that nothing ties together: one sentence."""
    places = list(by_key(loose, lambda record: record.position.folder))
    kind = "table" if all(record.position.row >= 0 for record in loose) else "folder"
    more = f" and {counted(len(places) - 1, f'other {kind}')}" if len(places) > 1 else ""
    of = f"{counted(loose, 'picture')} of {places[0]}{more}"
    return f"{of} {'forms' if len(loose) == 1 else 'form'} no group, since nothing says which belong together: {WAYS}."
