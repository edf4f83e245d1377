"""Which groups an image could have joined, and what stopped it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from pipeline.grouping.explain import name_of
from pipeline.grouping.strategies.base import sequence_of
from pipeline.grouping.vetoes import Veto, Vetoes
from pipeline.records import Group, Record, Rejected

APART = {"names": "not named as one of the same set", "columns": "not of the same group in its source"}
"""What keeps images apart whatever they look like, by the strategies that know sets."""
WITHIN_ONE = ("shots", "folders")
"""Strategies whose groups are of one film or folder."""
NEAR, ALIKE = 6, 4
"""Images that are looked at: the nearest in the source, and the most alike anywhere."""


@dataclass(frozen=True)
class Formation:
    """What grouping came to."""

    groups: Sequence[Group]
    """All that were formed."""
    taken: Set[str]
    """Ids of those that the run has taken."""
    rejected: Sequence[Rejected]
    """All rejections of the stage."""
    sets: Mapping[str, str] | None
    """By the ids of images, the sets that alone can become groups; None where looks and places decide."""


def reasons(record: Record, records: Sequence[Record], found: Formation, vetoes: Vetoes) -> Iterator[str]:
    """What became of the image; then a sentence for each group or single image nearby that it could have joined."""
    groups, taken, sets = found.groups, found.taken, found.sets
    of = {one.id: group for group in groups for one in group.records}
    why = {row.id: row.detail for row in reversed(found.rejected)}
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
            yield f"{_beside(record, other, sets, vetoes)}; but {why.get(other.id, 'it is in no group.')}"
        elif group.id not in told:
            told.add(group.id)
            yield _joining(record, group, sets, vetoes, taken)


def _candidates(record: Record, records: Sequence[Record], vetoes: Vetoes) -> list[Record]:
    """The nearest images of the same film or folder, then the most alike of all."""
    mates = [one for one in records if sequence_of(one) == sequence_of(record)]
    here = next(place for place, one in enumerate(mates) if one.id == record.id)
    near = sorted(range(len(mates)), key=lambda place: (abs(place - here), place))[1 : NEAR + 1]
    alike = vetoes.pictures.compared_with(record)
    by_likeness = [records[row] for row in np.argsort(-alike, kind="stable")[: ALIKE + 1].tolist()]
    found = {one.id: one for one in (*(mates[place] for place in near), *by_likeness) if one.id != record.id}
    return list(found.values())


def _likeness(record: Record, other: Record, vetoes: Vetoes) -> str:
    one, two = vetoes.pictures.compared_rows([record, other])
    return f"{vetoes.pictures.by} alike by {float(one @ two):.2f}"


def _too_far(record: Record, other: Record, sets: Mapping[str, str] | None, vetoes: Vetoes) -> str:
    """Why two images are too far apart in the source to be in one group; empty if they are not."""
    part = vetoes.task.group
    if sets is not None and (record.id not in sets or sets[record.id] != sets.get(other.id)):
        return APART.get(part.by, f"of another set, which {part.by} does not mix")
    if part.by in WITHIN_ONE and sequence_of(record) != sequence_of(other):
        return f"of another film or folder, which {part.by} does not mix"
    apart = abs(record.position.time - other.position.time)
    if part.by == "shots" and apart > part.span:
        return f"{apart:.0f} s away, more than group.span={part.span:g}"
    return ""


def _beside(record: Record, other: Record, sets: Mapping[str, str] | None, vetoes: Vetoes) -> str:
    found = vetoes.first([(record, other)])
    if far := _too_far(record, other, sets, vetoes):
        return f"With {name_of(other)} ({_likeness(record, other, vetoes)}): it is {far}"
    verdict = f"vetoed, since they {found}" if isinstance(found, Veto) else "nothing speaks against the two"
    return f"With {name_of(other)} ({_likeness(record, other, vetoes)}): {verdict}"


def _joining(record: Record, group: Group, sets: Mapping[str, str] | None, vetoes: Vetoes, taken: Set[str]) -> str:
    """Whether the image would belong into a group if one of its images made room."""
    places = range(len(group.records))
    ways = [(*group.records[:place], record, *group.records[place + 1 :]) for place in places]
    if far := _too_far(record, group.records[0], sets, vetoes):
        return f"Group {group.id} ({group.formed}): it is {far}."
    found = vetoes.first(ways)
    state = "full" if group.id in taken else "full, and not taken itself"
    if isinstance(found, Veto):
        return f"Group {group.id} ({group.formed}): vetoed, since with this image its panels {found}."
    gone = next(one for one in group.records if one not in found)
    return f"Group {group.id} ({group.formed}): {state}; nothing speaks against this image in place of {name_of(gone)}."
