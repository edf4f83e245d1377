"""Columns: images to which a table, a listing or an archive gives the same group, in the panels that it says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from pipeline.grouping import roles
from pipeline.grouping.explain import reject
from pipeline.grouping.strategies.base import Formed, Walk, by_key, together
from pipeline.grouping.vetoes import Veto, Vetoes
from pipeline.grouping.ways import Question
from pipeline.records import Record, Rejected
from pipeline.task import Task
from pipeline.wording import counted

COPIES = True


def form(records: Sequence[Record], task: Task, vetoes: Vetoes) -> Iterator[Formed | Rejected]:
    """One group for each name of a group.

    Panels come from what the source says of each image (`Position.panel`), else from its number (`Position.order`).
    Images for none of the panels are left out of a group that is whole without them.
    """
    named = by_key(records, lambda record: record.position.group)
    why = "nothing says which group it belongs to; name the column that does with --set table.group=COLUMN"
    yield from (reject(record, "no group", why) for record in named.pop("", []))
    words = [record.position.panel for record in records if record.position.group and record.position.panel]
    panels = roles.panels_of(words, task)
    reason = "no panel" if isinstance(panels, roles.Ambiguous) or not words else "incomplete group"
    yield from together((_formed(name, members, panels, reason, task) for name, members in named.items()), vetoes)


def _formed(
    name: str, members: Sequence[Record], panels: Mapping[str, int] | roles.Ambiguous, reason: str, task: Task
) -> Walk:
    """
    Args:
        reason: of the rejection of a group that is not whole.
    """
    placed = _placed(members, panels, task)
    if isinstance(placed, str):
        return [reject(record, reason, f"in the group {name}, {placed}") for record in members]
    chosen = set(placed)
    made: list[Formed | Rejected] = [
        reject(record, "no panel", f"{task.name} has no panel for '{record.position.panel}' of group {name}")
        for record in members
        if record not in chosen
    ]
    group = yield Question.of([placed])
    if isinstance(group, Veto):
        return [*made, *(reject(record, "strangers", f"the images of group {name} {group}") for record in placed)]
    return [*made, Formed(group, f"group {name} of its source")]


def sets(records: Sequence[Record], _: Task) -> dict[str, str]:
    """By the ids of images, the groups that their source puts them in."""
    return {record.id: record.position.group for record in records if record.position.group}


def _placed(members: Sequence[Record], panels: Mapping[str, int] | roles.Ambiguous, task: Task) -> list[Record] | str:
    """The images of a group in panel order, or why it has none, as the rest of a sentence."""
    size = task.grid_layout.size
    if len(members) < size:
        return f"{counted(members, 'usable image is', 'usable images are')} too few, {task.name} takes {size}"
    if size == len(members) == 1:
        return list(members)
    known = {} if isinstance(panels, roles.Ambiguous) else panels
    of_panel = by_key([one for one in members if one.position.panel in known], lambda one: known[one.position.panel])
    if not of_panel:
        has_orders = all(record.position.order is not None for record in members)
        return _in_order(members, task) if has_orders else _asked(panels)
    if twice := next((each for each in of_panel.values() if len(each) > 1), None):
        return f"{len(twice)} images are for the panel '{twice[0].position.panel}'"
    if missing := [marker for panel, marker in enumerate(task.markers) if panel not in of_panel]:
        other = ", ".join(f"'{one.position.panel}'" for one in members if one.position.panel not in known)
        return (
            f"no image is for {', '.join(missing)}{f' ({other} may be meant; say so with group.roles)' * bool(other)}"
        )
    return [of_panel[panel][0] for panel in range(size)]


def _asked(panels: Mapping[str, int] | roles.Ambiguous) -> str:
    if isinstance(panels, roles.Ambiguous):
        return str(panels)
    return (
        "nothing says which image is for which panel; name the column that does with --set table.panel=COLUMN or "
        "--set table.order=COLUMN"
    )


def _in_order(members: Sequence[Record], task: Task) -> list[Record] | str:
    size = task.grid_layout.size
    orders = Counter(record.position.order for record in members)
    if twice := next((order for order, count in orders.items() if count > 1), None):
        return f"{orders[twice]} images have the number {twice:g}"
    if len(members) > size:
        return (
            f"{len(members)} images are more than {task.name} takes, {size}; say which are for its panels with "
            "--set table.panel=COLUMN"
        )
    return sorted(members, key=lambda record: record.position.order or 0.0)
