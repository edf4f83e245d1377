"""Pairs: images of one folder whose names are the same but for the last word or number (`7_before`, `7_after`)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pipeline.grouping.explain import reject
from pipeline.grouping.strategies.base import Formed, by_key
from pipeline.grouping.vetoes import Veto, Vetoes
from pipeline.records import Record, Rejected
from pipeline.task import Task
from pipeline.wording import counted

COPIES = True
FIRST = ("before", "left", "top", "source", "input", "original", "a")
"""Last words of a name that mean the first panel; any other word comes after them."""


def form(records: Sequence[Record], task: Task, vetoes: Vetoes) -> Iterator[Formed | Rejected]:
    size = task.grid_layout.size
    for (folder, common), members in by_key(records, lambda r: (r.position.folder, name_and_role(r)[0])).items():
        name = common or folder  # `before.png` and `after.png` may have a folder of their own
        if len(members) != size:
            why = f"{counted(members, 'picture is', 'pictures are')} named {name}, {task.name} takes {size}"
            why += "; the rest have other names, or were rejected before" if len(members) < size else ""
            yield from (reject(record, "incomplete pair", why) for record in members)
        elif isinstance(veto := vetoes.first([members]), Veto):
            yield from (reject(record, "strangers", f"the pictures named {name} {veto}") for record in members)
        else:
            yield Formed(tuple(sorted(members, key=lambda record: name_and_role(record)[1])), f"named alike, {name}")


def name_and_role(record: Record) -> tuple[str, tuple[int, str]]:
    """`7_before` is `7` in the role of the first panel; roles sort by FIRST, then as words."""
    name, _, role = re.sub(r"[ _.\-]+", "-", record.position.stem.casefold()).rpartition("-")
    return name, (FIRST.index(role) if role in FIRST else len(FIRST), role.rjust(8))
