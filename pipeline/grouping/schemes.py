"""Schemes: how the names of a pool say what a picture is of and which panel it is for, found by evidence.

A role stands at one place of the names, has few words, and taking it away leaves names that are the same. Of all places
in the names, that counts at which most pictures make complete sets: first with words that the task or the vocabulary
know, then with numbers and with words that come back from set to set. Pictures that one scheme doesn't reach are tried
with the next.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.grouping import naming, patterns, roles, searches
from pipeline.grouping.naming import Name, Slot, Split
from pipeline.grouping.roles import Ambiguous, Panels
from pipeline.grouping.searches import Candidate, Roles, Table, Words
from pipeline.task import Task

MOST_SCHEMES = 12
"""Ways in which names of one pool are built; pictures beyond them have no role."""


@dataclass(frozen=True)
class NamedSet:
    """Pictures whose names are the same but for their roles."""

    name: str
    """What they are pictures of."""
    pictures: Mapping[str, tuple[int, ...]]
    """By role, the numbers of the pictures in the pool."""
    panels: Panels
    """By role, the panel from 0."""

    def chosen(self, size: int) -> tuple[int, ...] | None:
        """The one picture of each panel, in their order; None where a panel has none or more."""
        if isinstance(self.panels, Ambiguous):
            return None
        found = self.by_panel()
        whole = all(len(found[panel]) == 1 for panel in range(size))
        return tuple(found[panel][0] for panel in range(size)) if whole else None

    def by_panel(self) -> dict[int, list[int]]:
        """The numbers of the pictures of each panel; those of roles without a panel are left out."""
        found: dict[int, list[int]] = defaultdict(list)
        if not isinstance(self.panels, Ambiguous):
            for role, pictures in self.pictures.items():
                if role in self.panels:
                    found[self.panels[role]] += pictures
        return found


@dataclass(frozen=True)
class Scheme:
    """One way in which names of the pool are built."""

    pattern: str
    """In the syntax of `patterns`."""
    sets: tuple[NamedSet, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """The roles that occur, in order of appearance."""
        return tuple(dict.fromkeys(role for one in self.sets for role in one.pictures))


def read(names: Sequence[tuple[str, str]], task: Task) -> list[Scheme]:
    """The schemes of a pool of names, those with known words first.

    Args:
        names: of each picture the folder and the file's name without its ending.

    Returns:
        Each picture is in at most one set of one scheme. Where a set's panels are `Ambiguous`, somebody must say which
        role is for which panel. A scheme whose sets lack pictures is among them if its words are known.
    """
    left, found, words = dict(enumerate(names)), list[Scheme](), Words(task)
    pools: dict[int, tuple[dict[int, Name], list[Table]]] = {}
    for search in (searches.known, searches.recurring, searches.incomplete):
        for number, variant in enumerate(_variants(names, task)):
            while left and len(found) < MOST_SCHEMES:
                if number not in pools:
                    pools[number] = _tables(left, variant, words, task.group.pattern)
                read_as, tables = pools[number]
                candidates = (search(table, words, len(left)) for table in tables)
                best = max((one for one in candidates if one), key=lambda one: one.rank, default=None)
                if best is None:
                    break
                found.append(_scheme(best, read_as, words, task.group.pattern))
                taken = {number for one in found[-1].sets for pictures in one.pictures.values() for number in pictures}
                left = {number: name for number, name in left.items() if number not in taken}
                pools = {}  # the next scheme is that of the pictures left
    return found


def _variants(names: Iterable[tuple[str, str]], task: Task) -> list[dict[str, Any]]:
    """Ways to take names apart, the plainest first: without sizes, without dates, with glued words parted."""
    found: list[dict[str, Any]] = [{}]
    if task.group.pattern:
        return found
    kinds = {token.kind for name in names for part in name for token in naming.tokenised(part)}
    if "size" in kinds:
        found.append({"leave_out": ("size",)})
    if "date" in kinds:
        found.append({"leave_out": ("size", "date")})
    return [*found, {"glued": roles.glued(task)}]


def _tables(
    names: Mapping[int, tuple[str, str]], variant: Mapping[str, Any], words: Words, pattern: str
) -> tuple[dict[int, Name], list[Table]]:
    """The names in words, and for each place where a role may stand what would be its sets."""
    deepest = naming.DEEPEST if len({folder for folder, _ in names.values()}) > 1 else 0
    read_as = {number: naming.read(*name, **variant) for number, name in names.items()}
    tables: dict[Slot, Table] = {}
    for number, name in read_as.items():
        for split in patterns.splits(name, pattern) if pattern else naming.splits(name, words.is_role, deepest):
            of_key = tables.setdefault(split.slot, {}).setdefault(split.key, {})
            of_key.setdefault(split.role, []).append((number, split))
    return read_as, list(tables.values())


# ---- from a place to its sets


def _scheme(best: Candidate, names: Mapping[int, Name], words: Words, pattern: str) -> Scheme:
    sets, examples, optional = [], [], False
    for found in _assigned(best).values():
        for part in _parted(found, best.panels, names, words):
            panels = words.panels_of(part) if best.panels is None else best.panels
            pictures = {role: tuple(number for number, _ in each) for role, each in part.items()}
            number, split = next(each[0] for role, each in part.items() if role)
            sets.append(NamedSet(patterns.label(names[number], split), pictures, panels))
            examples.append((names[number], split))
            optional |= "" in part
    return Scheme(pattern or patterns.written(examples, optional=optional), tuple(sets))


def _assigned(best: Candidate) -> Table:
    """The sets with each picture in one of them: in a complete one if it can be, under its longest role."""
    ways: dict[int, tuple[tuple[bool, int], str, Split]] = {}
    for key, found in best.table.items():
        for each in found.values():
            for number, split in each:
                rank = (key in best.good, split.last - split.first)
                if number not in ways or rank > ways[number][0]:
                    ways[number] = (rank, key, split)
    sets: Table = {}
    for number in sorted(ways):
        _, key, split = ways[number]
        sets.setdefault(key, {}).setdefault(split.role, []).append((number, split))
    return {key: found for key, found in sets.items() if any(found)}  # a plain name alone says nothing


def _parted(found: Roles, panels: Panels | None, names: Mapping[int, Name], words: Words) -> list[Roles]:
    """A set, or several if names that count as the same differ in leading zeros or separators, and are all whole."""
    if all(len(each) == 1 for each in found.values()):
        return [found]
    parts: Table = {}
    for role, each in found.items():
        for number, split in each:
            parts.setdefault(patterns.rest(names[number], split), {}).setdefault(role, []).append((number, split))
    whole = all(searches.is_whole(part, panels or words.panels_of(part), words.size) for part in parts.values())
    return list(parts.values()) if whole else [found]
