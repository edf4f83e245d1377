"""What ties the panels, which do not belong, and who is in them, as a reviewer edits it: on one line, and checked."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from pipeline.errors import BadInput
from pipeline.records import Appearance, Caption, Corrections, Parts, Person, Tie
from pipeline.review.people import NO_LOOKS, rendered
from pipeline.task import Task
from pipeline.text import grammar
from pipeline.text.corrections import corrected, shown_in
from pipeline.wording import counted, numbered

ALL = "all"
"""The strangers of a grid whose panels nothing ties."""
NUMBERS = re.compile(r"\s*\d+(?:(?:\s|,|and)+\d+)*\s*")


# ---- on one line


def ties_cell(ties: Iterable[Tie]) -> str:
    """What ties the panels, and in which of them it is seen, on one line."""
    return "; ".join(f"{_what(tie)}: {numbered(tie.panels)}" for tie in ties)


def ties_in(cell: str) -> tuple[Tie, ...]:
    """The ties of a `ties_cell`, edited or not.

    Raises:
        BadInput: a tie has no panels; the message begins with `ties`.
    """
    return tuple(_tie(entry) for entry in filter(None, map(str.strip, cell.split(";"))))


def _tie(entry: str) -> Tie:
    what, colon, panels = entry.rpartition(":")
    if not colon or not NUMBERS.fullmatch(panels):
        raise BadInput(f"ties: '{entry}' does not say in which panels it is seen; write it as 'the beach: 1 and 3'")
    return Tie(grammar.clean(what), _panels(panels))


def strangers_cell(strangers: Sequence[int], count: int) -> str:
    """The panels that do not belong, on one line.

    Args:
        count: of the grid's panels.
    """
    return ALL if strangers and len(strangers) == count else numbered(strangers)


def strangers_in(cell: str, count: int) -> tuple[int, ...]:
    """The panels of a `strangers_cell`, edited or not.

    Raises:
        BadInput: it isn't made of numbers; the message begins with `strangers`.
    """
    said = cell.strip().casefold()
    if said == ALL:
        return tuple(range(count))
    if said and not NUMBERS.fullmatch(said):
        raise BadInput(
            f"strangers: '{cell}' is neither numbers of panels, such as '1 and 3', nor '{ALL}'; empty if all belong"
        )
    return _panels(said)


def shown_cell(parts: Parts) -> str:
    """Who is in which panel, and what they look like there if they change, on one line."""
    changing = {person.name for person in parts.people if person.changes}
    told = []
    for panel, shown in enumerate(parts.panels):
        looks = {one.name: one.looks for one in reversed(shown.people) if one.name in changing}
        people = [Appearance(name, looks.get(name, "")) for name in shown_in(parts, panel)]
        told.append(f"{panel + 1}: {_named(people)}")
    return "; ".join(told)


def told(said: Corrections | None) -> str:
    """Corrections for people, on one line; empty if there are none."""
    if said is None:
        return ""
    found = [] if said.ties is None else [f"ties: {ties_cell(said.ties) or 'none'}"]
    found += [] if said.strangers is None else [f"strangers: {numbered(said.strangers) or 'none'}"]
    for panel, people in enumerate(said.shown, start=1):
        if people is not None:
            found.append(f"in panel {panel}: {_named(people)}")
    return "; ".join(found)


def _named(people: Iterable[Appearance]) -> str:
    return ", ".join(f"{one.name} ({one.looks})" if one.looks else one.name for one in people) or "nobody"


def _panels(numbers: str) -> tuple[int, ...]:
    """Panels, from 0; a number that no panel has is found by `checked`."""
    return tuple(sorted({int(number) - 1 for number in re.findall(r"\d+", numbers)}))


# ---- what a person says


def checked(caption: Caption, said: Corrections) -> Corrections:
    """What a person says of a caption's parts, as it is kept.

    Raises:
        BadInput: the caption has no parts, or it can't be said of them; the message begins with the field's name.
    """
    parts = caption.parts
    if parts is None:
        first = next((name for name in ("ties", "strangers") if getattr(said, name) is not None), "people")
        raise BadInput(f"{first}: the caption is plain text and holds no ties and no people; edit its text")
    count, names = len(parts.panels), [person.name for person in parts.people]
    if len(said.shown) not in (0, count):
        raise BadInput(f"people: the grid has {counted(count, 'panel')}, not {len(said.shown)}; say who is in each")
    return Corrections(
        ties=None if said.ties is None else tuple(_checked_tie(tie, count) for tie in said.ties),
        strangers=None if said.strangers is None else _checked_panels("strangers", said.strangers, count),
        shown=tuple(people if people is None else tuple(_seen(people, names)) for people in said.shown),
    )


def _checked_tie(tie: Tie, count: int) -> Tie:
    what, panels = _what(tie), _checked_panels("ties", tie.panels, count)
    if not what:
        raise BadInput("ties: one has no text; say what its panels have in common, or remove it")
    if len(panels) < 2:  # noqa: PLR2004
        raise BadInput(f"ties: '{what}' is seen in {counted(panels, 'panel')}; a tie takes two or more")
    return Tie(what, panels)


def _what(tie: Tie) -> str:
    """What a tie is, on one line, without the character that separates ties."""
    return grammar.clean(tie.what.replace(";", ","))


def _checked_panels(field: str, panels: Iterable[int], count: int) -> tuple[int, ...]:
    found = tuple(sorted(set(panels)))
    if strange := [panel + 1 for panel in found if not 0 <= panel < count]:
        raise BadInput(f"{field}: there is no panel {strange[0]}; the grid has {counted(count, 'panel')}")
    return found


def _seen(people: Iterable[Appearance], names: Sequence[str]) -> Iterator[Appearance]:
    for one in {one.name: one for one in people}.values():
        looks = grammar.clean(one.looks)
        if one.name not in names:
            there = f"its caption names {', '.join(names)}" if names else "its caption names nobody"
            raise BadInput(f"people: '{one.name}' is not in this grid; {there}")
        if found := NO_LOOKS.search(looks):
            raise BadInput(f"people: the looks of {one.name} contain '{found[0]}'; write them without ; < > [ ]")
        yield Appearance(one.name, looks)


def merged(earlier: Corrections | None, said: Corrections | None) -> Corrections | None:
    """What a person has said in all, the later word before the earlier."""
    if earlier is None or said is None:
        return said or earlier
    shown = said.shown or earlier.shown
    if said.shown and earlier.shown:
        shown = tuple(old if new is None else new for old, new in zip(earlier.shown, said.shown, strict=True))
    return Corrections(
        ties=earlier.ties if said.ties is None else said.ties,
        strangers=earlier.strangers if said.strangers is None else said.strangers,
        shown=shown,
    )


# ---- in the caption


def described(caption: Caption, people: Iterable[Person], said: Corrections | None) -> Caption:
    """The caption, its parts with other looks of people and with what else is said of them; its text stays."""
    if caption.parts is None:
        return caption
    parts = grammar.redescribed(caption.parts, people)
    return replace(caption, parts=corrected(parts, merged(parts.corrections, said)))


def retold(before: Caption, after: Caption, people: Collection[Person], task: Task) -> str:
    """The text of a caption whose parts have changed: rendered anew if it tells other looks then, else as it is.

    Args:
        before: with the text.
        after: with the parts.
        people: who look different in all panels; the text is rendered anew, then.

    Raises:
        BadInput: the looks contain a marker or the prefix; the message begins with `people`.
    """
    assert before.parts is not None and after.parts is not None
    if not people and before.parts.panels == after.parts.panels:
        return before.text
    anew = rendered(after.parts, task)
    return anew if people or anew != rendered(before.parts, task) else before.text
