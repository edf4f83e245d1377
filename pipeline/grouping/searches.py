"""Evidence for roles: which words at one place of the names are roles, and which sets of pictures they make."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

from pipeline.grouping import roles
from pipeline.grouping.naming import Split
from pipeline.grouping.roles import Ambiguous, Panels
from pipeline.task import Task

MOST_WORDS = 8
"""Different words, unknown to the vocabulary, that can be roles; more are names of things."""
FREQUENT = 0.2
"""How often a word must stand beside known ones, relative to the most frequent of them, to be a role of the pool."""
RECURRING = 0.5
"""How often an unknown word must come back, relative to the most frequent one, to be a role."""
SHARE = 0.2
"""Share of the pictures that sets with unknown words must reach for their roles to be asked for."""
EXACT = 2 / 3
"""Share of numbered pictures that must be in sets of exactly as many as there are panels, for numbers to be roles."""

Roles = dict[str, list[tuple[int, Split]]]
"""By role, the numbers of pictures, and how the name of each was read."""
Table = dict[str, Roles]
"""What would be the sets, by what their pictures are of, if the role stood at a certain place of the names."""


class Words:
    """What is known of words in a task, looked up once for each."""

    def __init__(self, task: Task) -> None:
        self.size = task.grid_layout.size
        self.is_role = cache(partial(roles.is_role, task=task))
        self.is_sure = cache(partial(roles.is_sure, task=task))
        self.is_counter = cache(roles.is_counter)
        self.panels_of: Callable[[Iterable[str]], Panels] = partial(roles.panels_of, task=task)

    def is_one(self, role: str) -> bool:
        """Whether it is one word, or no run of words of which one alone is known ("1-edit")."""
        parts = role.split("-")
        return len(parts) == 1 or self.is_role(role) or not any(map(self.is_role, parts))


@dataclass(frozen=True)
class Candidate:
    """The sets that a place of the role makes."""

    table: Table
    """Only sets that have a role, with the words that are roles."""
    panels: Panels | None
    """The panels of the words; None if every set has roles of its own."""
    good: frozenset[str]
    """Keys of the sets that have enough roles for all panels."""

    @property
    def rank(self) -> tuple[int, ...]:
        """By the pictures in good sets; then by few words, short ones, in the file's own name, at its end."""
        found = [(role, split) for key in self.good for role, each in self.table[key].items() for _, split in each]
        slot, length = found[0][1].slot, sum(split.last - split.first for _, split in found)
        return len(found), -len({role for role, _ in found}), -length, -slot.depth, slot.side == "end", -slot.words


def known(table: Table, words: Words, _: int) -> Candidate | None:
    """Sets with words that the task or the vocabulary know, and with those that stand beside them."""
    beside_known: Table = {}
    for key, found in table.items():
        if len(found) > 1 and any(map(words.is_role, found)):
            beside_known[key] = {role: each for role, each in found.items() if words.is_one(role)}
    counts = Counter(role for found in beside_known.values() for role in found)
    sure = list(filter(words.is_role, counts))
    if not sure:
        return None
    most = max(counts[role] for role in sure)
    others = [role for role in counts if role not in sure and counts[role] >= FREQUENT * most]
    for tried in ([*sure, *others], [*sure, *({""} & set(others))], sure):
        panels = words.panels_of(tried)
        if not isinstance(panels, Ambiguous) and (good := _good(beside_known, partial(_always, panels), words)):
            return Candidate(_with(table, tried, panels), panels, good)
    good, asked = _good(beside_known, words.panels_of, words), _asked(table, [*sure, *others], words)
    own = Candidate(beside_known, None, good) if good else None
    # where most sets have to be asked about, one that lacks a view tells no order either
    return max(filter(None, (own, asked)), key=lambda one: _pictures(one.table, one.good), default=None)


def recurring(table: Table, words: Words, pictures: int) -> Candidate | None:
    """Sets of exactly as many numbers or letters as there are panels, or with words that come back from set to set."""
    numbered: Table = {}
    for key, found in table.items():
        own = {role: each for role, each in found.items() if words.is_counter(role)} if len(found) > 1 else {}
        if len(own) > 1:
            numbered[key] = own
    exact = _good(numbered, words.panels_of, words)
    if exact and _pictures(numbered, exact) >= EXACT * _pictures(numbered, numbered) and _count(numbered, exact):
        return Candidate({key: own for key, own in numbered.items() if len(own) <= MOST_WORDS}, None, exact)
    counts = Counter(role for found in table.values() if len(found) > 1 for role in found if role)
    least = max(2, RECURRING * max(counts.values(), default=0))
    often = [role for role in counts if counts[role] >= least]
    asked = _asked(table, often, words) if len(often) <= MOST_WORDS else None
    enough = asked and len(asked.good) > 1 and _pictures(asked.table, asked.good) >= SHARE * pictures
    return asked if enough else None


def incomplete(table: Table, words: Words, _: int) -> Candidate | None:
    """Pictures with a known role of which the others are missing: so that it can be said what is missing."""
    sure = sorted({role for found in table.values() for role in found if words.is_sure(role)})
    own = _with(table, sure, dict.fromkeys(sure, 0)) if sure else {}
    return Candidate(own, words.panels_of(sure), frozenset(own)) if own else None


def _asked(table: Table, roles_: Sequence[str], words: Words) -> Candidate | None:
    """Sets whose roles somebody must assign to the panels."""
    panels = words.panels_of(roles_)
    if not isinstance(panels, Ambiguous):
        return None
    own = _with(table, roles_, dict.fromkeys(roles_, 0))
    good = frozenset(key for key, found in own.items() if len(found) >= words.size)
    return Candidate(own, panels, good) if good else None


def _always(panels: Panels, _: Iterable[str]) -> Panels:
    return panels


def _with(table: Table, roles_: Sequence[str], panels: Mapping[str, int]) -> Table:
    """The sets in which a role has a panel, with these roles only."""
    kept: Table = {}
    for key, found in table.items():
        own = {role: each for role, each in found.items() if role in roles_}
        if any(role and role in panels for role in own):
            kept[key] = own
    return kept


def _good(table: Table, panels_of: Callable[[Iterable[str]], Panels], words: Words) -> frozenset[str]:
    """Keys of the sets that have one picture for each panel."""
    return frozenset(key for key, found in table.items() if is_whole(found, panels_of(found), words.size))


def is_whole(found: Roles, panels: Panels, size: int) -> bool:
    """Whether a set has one picture for each panel."""
    if isinstance(panels, Ambiguous):
        return False
    per_panel = Counter(panels[role] for role, each in found.items() if role in panels for _ in each)
    return len(per_panel) == size == per_panel.total()


def _count(numbered: Table, exact: frozenset[str]) -> bool:
    """Whether numbers are roles: behind what they count, or before it from 1; of two things at least, or of one from 1
    (`IMG_1233` and `IMG_1236` are what is left of a camera's pictures)."""
    slot = next(each[0][1].slot for found in numbered.values() for each in found.values())
    found = {role for found in numbered.values() for role in found}
    behind = slot.depth == slot.words == 0 and slot.side in {"end", "pattern"}
    return (behind, len(exact) > 1, roles.starts_counting(found)).count(True) > 1


def _pictures(table: Table, keys: Iterable[str]) -> int:
    return sum(len(each) for key in keys for each in table[key].values())
