"""Which groups an image could have joined, and what stopped it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

import numpy as np

from pipeline.grouping.explain import name_of
from pipeline.grouping.strategies.base import sequence_of
from pipeline.grouping.vetoes import Veto, Vetoes
from pipeline.records import Group, Record, Rejected

NEAR, ALIKE = 6, 4
"""Images that are looked at: the nearest in the source, and the most alike anywhere."""


def reasons(
    record: Record,
    records: Sequence[Record],
    groups: Sequence[Group],
    taken: Set[str],
    rejected: Sequence[Rejected],
    vetoes: Vetoes,
) -> Iterator[str]:
    """What became of the image; then a sentence for each group or single image nearby that it could have joined.

    Args:
        groups: all that were formed; `taken` has the ids of those that the run has taken.
        rejected: all rejections of the stage.
    """
    of = {one.id: group for group in groups for one in group.records}
    why = {row.id: row.detail for row in reversed(rejected)}
    own = of.get(record.id)
    if own:
        panel = [one.id for one in own.records].index(record.id) + 1
        state = "" if own.id in taken else "; the group was not taken"
        yield f"{name_of(record)} is panel {panel} of group {own.id}: {own.formed}{state}."
    if own is None or own.id not in taken:
        yield why.get(record.id, f"{name_of(record)} is in no group.")
    told: set[str] = {own.id} if own else set()
    for other in _candidates(record, records, vetoes):
        group = of.get(other.id)
        if group is None:
            yield f"{_beside(record, other, vetoes)}; but {why.get(other.id, 'it is in no group.')}"
        elif group.id not in told:
            told.add(group.id)
            yield _joining(record, group, vetoes, taken)


def _candidates(record: Record, records: Sequence[Record], vetoes: Vetoes) -> list[Record]:
    """The nearest images of the same film or folder, then the most alike of all."""
    mates = [one for one in records if sequence_of(one) == sequence_of(record)]
    here = next(place for place, one in enumerate(mates) if one.id == record.id)
    near = sorted(range(len(mates)), key=lambda place: (abs(place - here), place))[1 : NEAR + 1]
    alike = vetoes.pictures.compared @ vetoes.pictures.compared[vetoes.pictures.rows[record.id]]
    by_likeness = [records[row] for row in np.argsort(-alike, kind="stable")[: ALIKE + 1].tolist()]
    found = {one.id: one for one in (*(mates[place] for place in near), *by_likeness) if one.id != record.id}
    return list(found.values())


def _likeness(record: Record, other: Record, vetoes: Vetoes) -> str:
    one, two = vetoes.pictures.compared_rows([record, other])
    return f"{vetoes.pictures.by} alike by {float(one @ two):.2f}"


def _beside(record: Record, other: Record, vetoes: Vetoes) -> str:
    found = vetoes.first([(record, other)])
    verdict = f"vetoed, since they {found}" if isinstance(found, Veto) else "nothing speaks against the two"
    return f"With {name_of(other)} ({_likeness(record, other, vetoes)}): {verdict}"


def _joining(record: Record, group: Group, vetoes: Vetoes, taken: Set[str]) -> str:
    """Whether the image would belong into a group if one of its images made room."""
    places = range(len(group.records))
    ways = [(*group.records[:place], record, *group.records[place + 1 :]) for place in places]
    found = vetoes.first(ways)
    state = "full" if group.id in taken else "full, and not taken itself"
    if isinstance(found, Veto):
        return f"Group {group.id} ({group.formed}): vetoed, since with this image its panels {found}."
    gone = next(one for one in group.records if one not in found)
    return f"Group {group.id} ({group.formed}): {state}; nothing speaks against this image in place of {name_of(gone)}."
