"""Names: images whose names are the same but for a word that says the panel (`7_before`, `7_after`; `before/7`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from pipeline.grouping import schemes
from pipeline.grouping.explain import name_of, reject
from pipeline.grouping.roles import Ambiguous
from pipeline.grouping.schemes import NamedSet, Scheme
from pipeline.grouping.strategies.base import ORDER, Formed, Walk, by_key, together
from pipeline.grouping.vetoes import Veto, Vetoes
from pipeline.grouping.ways import Question
from pipeline.records import Record, Rejected
from pipeline.task import Task
from pipeline.wording import counted

COPIES = True
EXAMPLES = 3
"""Sets that a remark shows."""


def form(records: Sequence[Record], task: Task, vetoes: Vetoes) -> Iterator[Formed | Rejected]:
    taken, twins = _once(records)
    yield from twins
    pictures = [record for record in taken if not record.position.film]
    found = [one for scheme in _read(pictures, task) for one in scheme.sets]
    yield from together((_formed(one, pictures, task) for one in found), vetoes)
    named = {pictures[number].id for one in found for numbers in one.pictures.values() for number in numbers}
    yield from (_without_role(record, task) for record in taken if record.id not in named)


def remarks(records: Sequence[Record], task: Task) -> list[str]:
    """How the names were read, a sentence for each way: with the roles, how many sets there are, and examples."""
    pictures = [record for record in _once(records)[0] if not record.position.film]
    found = _read(pictures, task)
    read = {number for scheme in found for one in scheme.sets for each in one.pictures.values() for number in each}
    said = [_remark(scheme, pictures, task) for scheme in found]
    if pictures and (unread := len(pictures) - len(read)):
        said.append(
            f"names: {counted(unread, 'picture has', 'pictures have')} a name that says no role; pictures are grouped "
            "whose names are the same but for a word, such as 7_before and 7_after or before/7 and after/7, or as "
            "--set group.pattern says."
        )
    return said


def sets(records: Sequence[Record], task: Task) -> dict[str, str]:
    """By the ids of images, the sets that their names put them in; those whose names say no role are in none."""
    pictures = [record for record in _once(records)[0] if not record.position.film]
    return {
        pictures[number].id: f"{scheme.pattern} {one.name}"
        for scheme in _read(pictures, task)
        for one in scheme.sets
        for numbers in one.pictures.values()
        for number in numbers
    }


def _read(pictures: Sequence[Record], task: Task) -> list[Scheme]:
    if task.grid_layout.size == 1:
        return []
    return _schemes(tuple((one.position.folder, one.position.stem) for one in pictures), task.model_dump_json())


@lru_cache(maxsize=4)
def _schemes(names: tuple[tuple[str, str], ...], task: str) -> list[Scheme]:
    """Read once for the groups, for those that are left when strangers are known, and for the remarks."""
    return schemes.read(names, Task.model_validate_json(task))


def _once(records: Sequence[Record]) -> tuple[list[Record], list[Rejected]]:
    """Of files whose names differ in their endings only, the largest picture."""
    taken, twins = [], []
    for same in by_key(records, lambda record: record.position).values():
        first = same[0] if same[0].position.film else max(same, key=lambda record: record.width * record.height)
        taken.append(first)
        why = f"has the same name as {name_of(first)}, which is as large or larger"
        twins += [reject(record, "same name", why) for record in same if record is not first]
    return taken, twins


def _formed(one: NamedSet, pictures: Sequence[Record], task: Task) -> Walk:
    """The group of a set, and why those of its pictures are left out that no panel is for."""
    chosen = one.chosen(task.grid_layout.size)
    every = [pictures[number] for numbers in one.pictures.values() for number in numbers]
    if chosen is None:
        reason = ORDER if isinstance(one.panels, Ambiguous) else "incomplete set"
        why = str(one.panels) if isinstance(one.panels, Ambiguous) else _lacking(one, pictures, task)
        return [reject(record, reason, why) for record in every]
    made: list[Formed | Rejected] = []
    members = [pictures[number] for number in chosen]
    for role, numbers in one.pictures.items():
        why = f"shows {one.name} as '{role}', for which {task.name} has no panel"
        made += [reject(pictures[number], "no panel", why) for number in numbers if number not in chosen]
    group = yield Question.of([members])
    if isinstance(group, Veto):
        return [*made, *(reject(record, "strangers", f"the pictures named {one.name} {group}") for record in members)]
    return [*made, Formed(group, f"named alike, {one.name}")]


def _lacking(one: NamedSet, pictures: Sequence[Record], task: Task) -> str:
    """What a set has none of, or too many."""
    found, faults = one.by_panel(), []
    for panel, marker in enumerate(task.markers):
        if panel not in found:
            faults.append(f"none is for {marker} (others have other names, or were rejected before)")
        elif len(found[panel]) > 1:
            names = ", ".join(pictures[number].position.stem for number in found[panel])
            faults.append(f"{len(found[panel])} are for {marker} ({names})")
    return f"of the pictures named {one.name} {' and '.join(faults)}"


def _without_role(record: Record, task: Task) -> Formed | Rejected:
    if task.grid_layout.size == 1:
        return Formed((record,), f"named {record.position.stem}")
    if record.position.film:
        return reject(record, "no role", "is a shot of a film, and only names of pictures say a role")
    return reject(record, "no role", "has a name that says no role, or of which no other is the same but for its role")


# ---- remarks


def _remark(scheme: Scheme, pictures: Sequence[Record], task: Task) -> str:
    whole = [one for one in scheme.sets if one.chosen(task.grid_layout.size)]
    left = sum(len(numbers) for one in scheme.sets for numbers in one.pictures.values())
    left -= len(whole) * task.grid_layout.size
    if whole:
        panels = _roles(whole, task)
        shown = "; ".join(_example(one, pictures, task) for one in whole[:EXAMPLES])
        over = f", {counted(left, 'picture')} left over" if left else ""
        return f"names: {scheme.pattern}, {panels}: {counted(len(whole), 'set')}{over}; such as {shown}."
    asked = next((one for one in scheme.sets if isinstance(one.panels, Ambiguous)), None)
    if asked is None:
        words = ", ".join(f"'{word}'" for word in scheme.words if word)
        return f"names: {scheme.pattern}: {counted(left, 'picture')} with {words}, and no set has all panels."
    names = [pictures[number].position.stem for numbers in asked.pictures.values() for number in numbers]
    count = counted(len(scheme.sets), "set")
    return f"names: {scheme.pattern}: {count}, such as {' + '.join(names[:4])}, and {asked.panels}."


def _roles(sets: Sequence[NamedSet], task: Task) -> str:
    """Which words are for which panel."""
    words: dict[int, dict[str, None]] = {}
    for one in sets:
        panels: Mapping[str, int] = {} if isinstance(one.panels, Ambiguous) else one.panels
        for role in one.pictures:
            if role in panels:
                words.setdefault(panels[role], {})[f"'{role}'" if role else "no word"] = None
    told = (f"{' or '.join(list(words[panel])[:EXAMPLES])} for {task.markers[panel]}" for panel in sorted(words))
    return ", ".join(told)


def _example(one: NamedSet, pictures: Sequence[Record], task: Task) -> str:
    chosen = one.chosen(task.grid_layout.size) or ()
    members = [pictures[number].position for number in chosen]
    deep = len({position.folder for position in members}) > 1
    return " + ".join(
        f"{position.folder.rpartition('/')[2]}/{position.stem}" if deep else position.stem for position in members
    )
