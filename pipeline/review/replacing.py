"""Find and replace over the captions of a run, and its undo: edits by a person, under the rules of `reviews`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.errors import BadInput
from pipeline.records import Parts, Person, Review, Row
from pipeline.review import reviews
from pipeline.review.people import people_cell, people_in
from pipeline.review.reviews import Change
from pipeline.review.texts import with_panels
from pipeline.task import Task
from pipeline.text import grammar, phrases
from pipeline.text.counters import TokenCounter
from pipeline.wording import counted

WHO = "replace "
UNDO = "undo of "
"""How the names begin under which the log keeps replacements, and what takes them back."""
FIELDS = ("caption", "people")
"""What a replacement changes; it also keeps a row that the toolkit kept."""
Event = Mapping[str, str]
"""An entry of the run's log: at, grid, who, reviewer, field, was, becomes."""


@dataclass(frozen=True)
class Undo:
    """What takes a replacement back."""

    who: str
    """Under which name the log keeps the replacement."""
    changes: tuple[Change, ...] = ()
    """Rows that get their earlier texts. Of those that nobody has touched otherwise, and that have the captioner's text
    again, no decision stays: the toolkit decides on them again."""
    stay: tuple[str, ...] = ()
    """Grids that were edited since, and stay as they are."""


def name_of(old: str, new: str) -> str:
    """The name of a replacement in the log."""
    return f"{WHO}'{old}' by '{new}'"


@dataclass(frozen=True)
class Phrase:
    """A phrase that is looked for, and another one for its place."""

    old: str
    new: str
    """May be empty."""
    inside_words: bool = False
    """Whether the old one is also replaced in parts of longer words."""

    @classmethod
    def of(cls, old: str, new: str, *, inside_words: bool = False) -> Phrase:
        """
        Raises:
            BadInput: there is nothing to look for, or nothing would change.
        """
        old, new = grammar.fold(old), grammar.fold(new)
        if not old or old == new:
            raise BadInput(f"'{old}' can't be replaced by '{new}'; give a text to look for, and another one.")
        return cls(old, new, inside_words)

    def swap(self, text: str) -> str:
        """The text with the new phrase in place of the old one."""
        return phrases.swap(text, self.old, self.new, inside_words=self.inside_words)

    def may_be_in(self, row: Row) -> bool:
        """Whether a row's caption may have the old phrase; True also where only reading it would tell."""
        if self.old in row.caption.text or not (row.checked or "<" not in self.old):
            return True
        people = row.caption.parts.people if row.caption.parts else ()
        return any(self.old in person.looks or self.old in person.changes for person in people)


def find(
    rows: Iterable[Row], task: Task, counter: TokenCounter, old: str, new: str, *, inside_words: bool = False
) -> list[Change]:
    """What changes if one phrase takes the place of another in every caption, and in what is known of people's looks.

    Markers, prefix, opening and names stay; a name is changed together with its brackets (`<Mara>` by `<Ines>`).

    Args:
        new: may be empty.
        inside_words: also in parts of longer words.

    Raises:
        BadInput: no caption has the phrase, or some can't be changed like this; all of them are named.
    """
    found, phrase = list(rows), Phrase.of(old, new, inside_words=inside_words)
    changes = [change for change in changes_of(found, task, counter, phrase) if change]
    if not changes:
        raise is_nowhere(found, phrase)
    return changes


def is_nowhere(rows: Sequence[Row], phrase: Phrase) -> BadInput:
    """The error if no caption has a phrase."""
    within = sum(phrase.old in row.caption.text for row in rows)
    more = (
        f"; {counted(within, 'has', 'have')} it inside a longer word, a name, the prefix or a marker" if within else ""
    )
    return BadInput(
        f"none of {counted(rows, 'caption')} has '{phrase.old}' as a whole word{more}; nothing was replaced."
    )


def changes_of(
    rows: Iterable[Row], task: Task, counter: TokenCounter, phrase: Phrase, *, problems: bool = True
) -> Iterator[Change | None]:
    """As `find`, row by row, None for a row that stays as it is.

    Args:
        problems: whether to look for those of the new captions, which takes most of the time.

    Raises:
        BadInput: behind the last row, if some captions can't be changed like this; all of them are named.
    """
    doubts = []
    for row in rows:
        try:
            yield _change(row, task, counter, phrase, problems) if phrase.may_be_in(row) else None
        except BadInput as error:
            doubts.append(f"{row.id}, {error}")
    if doubts:
        raise BadInput("\n  ".join(["nothing was replaced; these captions can't be changed like this:", *doubts]))


def _change(outline: Row, task: Task, counter: TokenCounter, phrase: Phrase, problems: bool) -> Change | None:
    row = reviews.readable(outline, task, counter)
    text = _text(row, phrase.swap, task)
    people = _people(row, text, phrase.swap, task)
    if text == row.caption.text and not people:
        return None
    return _unsaid(reviews.change(row, task, counter if problems else None, text=text, people=people))


def _unsaid(change: Change | None) -> Change | None:
    """The change as nobody's word on the grid: who replaces words in all captions has not looked at each."""
    return replace(change, says=None) if change else None


def _text(row: Row, swap: Callable[[str], str], task: Task) -> str:
    """The row's caption with one phrase in place of another, part by part, so that markers and opening stay."""
    caption = row.caption
    panels = {place: new for place, was in enumerate(caption.panels) if (new := swap(was)) != was}
    opened = len(task.opening) if caption.summary.lower().startswith(task.opening.lower()) else 0
    opening, rest = caption.summary[:opened], caption.summary[opened:]
    summary = f"{opening}{new}" if (new := swap(rest)) != rest else None
    if not panels and summary is None:
        return caption.text
    if any(caption.panels):
        return with_panels(row, panels, task, summary)
    return grammar.fold(f"{caption.prefix} {swap(caption.text.removeprefix(caption.prefix))}")  # a text without markers


def _people(row: Row, text: str, swap: Callable[[str], str], task: Task) -> tuple[Person, ...]:
    """People whose looks have the phrase in them, though the text doesn't tell them."""
    caption = row.caption
    if caption.parts is None:
        return ()
    known = _names(caption.parts)
    parts = caption.parts if text == caption.text else grammar.reread(text, caption.parts, task)
    anew = {p: replace(p, looks=swap(p.looks), changes=swap(p.changes)) for p in parts.people if p.name in known}
    return tuple(person for was, person in anew.items() if was != person)


def by_field(change: Change, task: Task) -> Change:
    """The change with the caption's parts in place of the caption, to be read."""
    fields = []
    for name, was, becomes in change.fields:
        if name != "caption":
            fields.append((name, was, becomes))
            continue
        before, after = grammar.parse(was, task), grammar.parse(becomes, task)
        names = ["summary", *(f"panel_{number}" for number in range(1, len(task.markers) + 1))]
        parts = zip(names, (before.summary, *before.panels), (after.summary, *after.panels), strict=True)
        fields += [part for part in parts if part[1] != part[2]] or [(name, was, becomes)]
    return replace(change, fields=tuple(fields))


def count(changes: Iterable[Change], task: Task) -> dict[str, int]:
    """In how many captions each field changes."""
    return dict(Counter(name for change in changes for name, _, _ in by_field(change, task).fields))


# ---- undo


def undo(
    rows: Iterable[Row],
    task: Task,
    counter: TokenCounter,
    events: Sequence[Event],
    written: Mapping[str, str],
    reviewer: str = "",
) -> Undo:
    """What takes back a reviewer's last replacement that has not been taken back.

    Args:
        events: the run's log.
        written: by grid, the caption that the captioner wrote.
        reviewer: their name; empty for the one without.

    Raises:
        BadInput: there is none.
    """
    start, end = _last(events, reviewer)
    who, by_id = events[start]["who"], {row.id: row for row in rows}
    others = {event["grid"] for event in events if not event["who"].startswith((WHO, UNDO))}
    changes, stay = [], []
    for grid in dict.fromkeys(event["grid"] for event in events[start:end]):
        fields = [(e["field"], e["was"], e["becomes"]) for e in events[start:end] if e["grid"] == grid]
        change = _back(by_id.get(grid), fields, task, counter)
        if change is None:
            stay.append(grid)
            continue
        alone = grid not in others and written.get(grid) == change.review.text
        changes.append(replace(change, review=Review(grid, None)) if alone else change)
    return Undo(who, tuple(changes), tuple(stay))


def _last(events: Sequence[Event], reviewer: str) -> tuple[int, int]:
    """Where in the log a reviewer's last replacement stands that has not been taken back: its first event, and behind
    its last.

    Raises:
        BadInput: there is none.
    """
    found: list[tuple[int, int]] = []
    start = 0
    for end in range(1, len(events) + 1):
        if end < len(events) and _act(events[end]) == _act(events[start]):
            continue
        who = events[start]["who"]
        if _reviewer(events[start]) != reviewer:
            pass
        elif who.startswith(WHO):
            found.append((start, end))
        elif found and who == UNDO + events[found[-1][0]]["who"]:
            found.pop()
        start = end
    if not found:
        whose = f" of {reviewer}" if reviewer else ""
        raise BadInput(f"there is no replacement{whose} to undo; 'iclora show TASK events' lists what was changed.")
    return found[-1]


def _act(event: Event) -> tuple[str, str, str]:
    """What the events of one act have in common."""
    return event["at"], event["who"], _reviewer(event)


def _reviewer(event: Event) -> str:
    return event.get("reviewer", "")


def _back(row: Row | None, fields: Sequence[tuple[str, str, str]], task: Task, counter: TokenCounter) -> Change | None:
    """The change of a row to what it was before; None if it has been edited since, or has left the run."""
    if row is None:
        return None
    before = {name: was for name, was, _ in fields}
    now = {"caption": row.caption.text, "people": people_cell(row.caption.parts), "decision": row.decision}
    if any(now[name] != becomes for name, _, becomes in fields if name in FIELDS):
        return None
    text, people = before.get("caption", row.caption.text), people_in(before.get("people", ""))
    there = _names(row.caption.parts)
    return _unsaid(
        reviews.change(row, task, counter, text=text, people=tuple(one for one in people if one.name in there))
    )


def _names(parts: Parts | None) -> set[str]:
    return {person.name for person in parts.people} if parts else set()
