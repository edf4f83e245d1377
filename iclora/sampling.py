"""Which pictures and films of a large source are looked at: spread evenly, in runs of pictures that may form groups."""

from __future__ import annotations

import random
from collections.abc import Sequence

from pipeline.files import natural
from pipeline.sources.base import Item

SEED = 20
RUN = 40
"""Pictures that follow one another by name and are taken together: single ones would have no neighbours to go with."""
TWINS = 8
"""Folders beside one another up to which they may hold the sides of the same sets (`before/`, `after/`): then pictures
of one name follow one another."""


def pictures(items: Sequence[Item], most: int) -> list[Item]:
    """No more than `most` of the items, in their order; the same each time.

    Args:
        most: at least `RUN`.
    """
    if len(items) <= most:
        return list(items)
    folders: dict[str, set[str]] = {}
    for item in items:
        folders.setdefault(_parent(item.folder), set()).add(item.folder)

    def place(number: int) -> tuple[str, str]:
        item = items[number]
        few = len(folders[_parent(item.folder)]) <= TWINS
        return (_parent(item.folder) if few else item.folder), item.facts.group

    homes: dict[tuple[str, str], list[int]] = {}
    for number in range(len(items)):
        homes.setdefault(place(number), []).append(number)
    share, chosen = (most - RUN) / len(items), list[int]()
    credit = random.Random(SEED).uniform(0, RUN)
    for numbers in homes.values():
        numbers.sort(key=lambda number: (natural(items[number].stem), items[number].folder))
        for first in range(0, len(numbers), RUN):
            run = numbers[first : first + RUN]
            credit += share * len(run)
            if credit >= len(run):
                credit -= len(run)
                chosen += run
    return [items[number] for number in sorted(chosen)]


def films(items: Sequence[Item], most: int) -> list[Item]:
    """No more than `most` of the items, at equal distances; the same each time."""
    if len(items) <= most:
        return list(items)
    start = random.Random(SEED).random()
    return [items[int((number + start) * len(items) / most)] for number in range(most)]


def _parent(folder: str) -> str:
    return folder.rpartition("/")[0]
