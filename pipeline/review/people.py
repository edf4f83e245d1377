"""The people of a grid as a reviewer edits them: on one line, with other looks, and in the caption's text."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pipeline.errors import BadInput, BadReply
from pipeline.records import Caption, Parts, Person, Row
from pipeline.task import Task
from pipeline.text import grammar

NO_LOOKS = re.compile(r"[;<>\[\]]")
"""Characters that a description must not contain: they separate people, and enclose names and markers."""


def people_cell(parts: Parts | None) -> str:
    """Who is in a grid and what they look like, on one line; empty for a caption that is plain text."""
    return "; ".join(map(_entry, parts.people)) if parts else ""


def _entry(person: Person) -> str:
    looks, changes = (text.replace(";", ",") for text in (person.looks, person.changes))
    return f"{person.name}: {looks}{f' (changes: {changes})' if changes else ''}".strip()


def people_in(cell: str) -> list[Person]:
    """The people of a `people_cell`, edited or not.

    Raises:
        BadInput: somebody appears twice; the message begins with `people`.
    """
    found: dict[str, Person] = {}
    for entry in filter(None, map(str.strip, cell.split(";"))):
        name, _, description = (part.strip() for part in entry.partition(":"))
        looks, _, changes = description.partition("(changes:") if description.endswith(")") else (description, "", "")
        if name in found:
            raise BadInput(f"people: {name} appears twice; describe them once")
        found[name] = Person(name, grammar.clean(looks), grammar.clean(changes.removesuffix(")")))
    return list(found.values())


def redescribed(row: Row, people: Iterable[Person]) -> tuple[Person, ...]:
    """Those of the people who now look different from what the row's caption says.

    Raises:
        BadInput: somebody is not in this grid, or their looks are missing or can't be written; the message begins with
            `people`.
    """
    known = {person.name: person for person in row.caption.parts.people} if row.caption.parts else {}
    anew = []
    for person in people:
        if not row.caption.parts:
            raise BadInput(
                f"people: the caption is plain text and has no separate looks for {person.name}; edit the caption"
            )
        if person.name not in known:
            there = f"its caption names {', '.join(known)}" if known else "its caption names nobody"
            raise BadInput(f"people: '{person.name}' is not in this grid; {there}")
        if _entry(person) == _entry(known[person.name]):
            continue
        if not person.looks:
            raise BadInput(
                f"people: the looks of {person.name} are missing; describe them, or take <{person.name}> out of "
                "the caption"
            )
        if found := NO_LOOKS.search(f"{person.looks}{person.changes}"):
            raise BadInput(f"people: the looks of {person.name} contain '{found[0]}'; write them without ; < > [ ]")
        anew.append(person)
    return tuple(anew)


def with_looks(caption: Caption, people: Iterable[Person], task: Task) -> str:
    """The caption's text rendered anew with other looks for some people, each description once.

    Raises:
        BadInput: the looks contain a marker or the prefix; the message begins with `people`.
    """
    assert caption.parts is not None
    return rendered(grammar.redescribed(caption.parts, people), task)


def rendered(parts: Parts, task: Task) -> str:
    """The text of a caption's parts, each description once; raises as `with_looks` does."""
    try:
        return grammar.text_of(grammar.bared(parts), task)
    except BadReply as error:
        raise BadInput(f"people: {error}") from error
