"""A person's word on the grids of a run: the rows that are decided on, and what an edit changes.

The table, the page and the command line all come through here, so that all of them obey the same rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from pipeline.errors import BadInput, BadReply
from pipeline.records import Caption, Decision, Grid, Parts, Person, Record, Review, Row, Scores, content_id
from pipeline.store import Store
from pipeline.task import Task
from pipeline.text import budget, grammar
from pipeline.text.counters import TokenCounter

DECISIONS: tuple[Decision, ...] = get_args(Decision)
BLANK = Caption("", "", "", (), captioner="person")
NO_LOOKS = re.compile(r"[;<>\[\]]")
"""Signs that nobody's looks may hold: they part people from one another, and hold names and markers."""


@dataclass(frozen=True)
class Change:
    """One edited row: the review that it makes, and per field what was and what becomes."""

    review: Review
    fields: tuple[tuple[str, str, str], ...]
    problems: tuple[str, ...] = ()
    """What the linter finds in the caption where that was edited."""


def grids(store: Store) -> list[Grid]:
    """Every grid with the panels that count: a person's choice of pictures goes before ours.

    A grid of other panels keeps its id and has a picture of its own, which whoever changes the panels draws.
    """
    return _arranged(_made(store), _holding(store))


def _made(store: Store) -> list[Grid]:
    """Every grid as it was composed.

    Raises:
        BadInput: the run was cut off after it had begun its pictures or groups anew.
    """
    found = store.items(Grid, "grids")
    if len(found) < store.count("grids"):
        raise BadInput(
            f"the run in {store.folder} was cut off while it measured or grouped its pictures anew, so not all of its "
            "grids can be shown; run 'iclora dataset' on it again, which resumes (no decision is lost)."
        )
    return found


def _arranged(made: Sequence[Grid], word: Word) -> list[Grid]:
    chosen = {grid: review.panels for grid, review in word.reviews.items() if review.panels}
    return [
        rearranged(grid, [word.records[record] for record in chosen[grid.id]]) if grid.id in chosen else grid
        for grid in made
    ]


def rearranged(grid: Grid, records: Sequence[Record]) -> Grid:
    """The grid with these records in this order."""
    group = replace(grid.group, records=tuple(records))
    version = content_id("v", grid.id, group.origin)[2:]
    return replace(grid, group=group, path=str(Path(grid.path).with_name(f"{grid.id}-{version}.png")))


@dataclass(frozen=True)
class Word:
    """A person's reviews that hold, by grid; one for pictures that have left the run does not."""

    reviews: Mapping[str, Review]
    records: Mapping[str, Record]
    """By id, the pictures that a person may have chosen; read only where one has."""


def _holding(store: Store) -> Word:
    found = store.items(Review, "reviews")
    chosen = any(review.panels for review in found)
    records = {record.id: record for record in store.items(Record, "records")} if chosen else {}
    return Word({r.grid: r for r in found if all(record in records for record in r.panels)}, records)


def captions(store: Store, task: Task, counter: TokenCounter) -> list[Caption]:
    """The captions that count: a person's text goes before ours, and its problems are its own.

    Where a person has exchanged panels the text is theirs too, even an empty one: ours tells of other panels.
    """
    return _counting(store, _made(store), _holding(store), task, counter)


def _counting(store: Store, made: Sequence[Grid], word: Word, task: Task, counter: TokenCounter) -> list[Caption]:
    said = {grid: review for grid, review in word.reviews.items() if review.text or review.panels}
    by_id = {grid.id: grid for grid in made}
    ours = store.items(Caption, "captions")
    # A captioner that finds a grid's panels unrelated, where another found words for them, does not unsay a person's.
    lacking = by_id.keys() - {caption.grid for caption in ours}
    ours += [replace(BLANK, grid=grid) for grid in said if grid in lacking]
    return [
        budget.checked(_edited(caption, said[caption.grid], by_id.get(caption.grid), task), task, counter)
        if caption.grid in said
        else caption
        for caption in ours
    ]


def _edited(caption: Caption, review: Review, grid: Grid | None, task: Task) -> Caption:
    """The caption with a person's panels, looks and text; its parts are the captioner's as far as theirs go."""
    parts = caption.parts
    if parts and grid and review.panels:
        before = {record.id: place for place, record in enumerate(grid.group.records)}
        parts = grammar.rearranged(parts, [before.get(record) for record in review.panels])
    if parts and review.people:
        parts = grammar.redescribed(parts, review.people)
    return grammar.edited(replace(caption, parts=parts), review.text, task)


def rows(store: Store, task: Task, counter: TokenCounter) -> list[Row]:
    """Every captioned grid with its scores, the decision on it and why. A person's word goes before ours.

    Scores and rejections belong to the text and the panels that were scored; a grid that has others since has none.
    """
    made, word = _made(store), _holding(store)
    counting = {caption.grid: caption for caption in _counting(store, made, word, task, counter)}
    scores = {found.grid: found for found in store.items(Scores, "scores")}
    rejected = {row.id: row.detail for row in store.rejected("filter")}
    found = []
    for grid in _arranged(made, word):
        caption, review = counting.get(grid.id), word.reviews.get(grid.id)
        if caption is None:
            continue
        scored = scores.get(grid.id)
        fresh = scored is not None and (scored.text, scored.picture) == (caption.text, grid.path)
        reasons = (rejected[grid.id],) if fresh and grid.id in rejected else ()
        ours: Decision = "drop" if reasons else "unsure" if caption.problems else "keep"
        decision = (review.decision if review else None) or ours
        found.append(Row(grid, caption, scored.scores if scored and fresh else (), decision, reasons, review))
    return found


def change(  # noqa: PLR0913  (one argument a field that a person may change)
    row: Row,
    task: Task,
    counter: TokenCounter,
    *,
    decision: Decision | None = None,
    text: str | None = None,
    note: str | None = None,
    panels: tuple[str, ...] = (),
    people: tuple[Person, ...] = (),
) -> Change | None:
    """What these values change of a row, each left as it is where it is None; None where they change nothing.

    A text edited in a row that is marked keep is kept as the person wrote it. In one that the toolkit dropped or left
    unsure the edit decides nothing: the toolkit does again, by what it finds in the new text.

    Args:
        panels: ids of the records that the person wants; empty where they stay as they are.
        people: people with other looks, of which the text tells as it is given; without a text it is rendered anew.

    Raises:
        BadInput: the row can't be kept with this text; the message begins with the field's name.
    """
    earlier = row.review or Review(row.id, None)
    there = row.grid.group.origin
    people = redescribed(row, people)
    if text is None and people:
        text = with_looks(row.caption, people, task)
    words = row.caption.text if text is None else grammar.fold(text)
    edited = words != row.caption.text or bool(people)
    by_edit: Decision | None = "keep" if edited and row.decision == "keep" else None
    described = {person.name: person for person in (*earlier.people, *people)}
    review = replace(
        earlier,
        decision=decision or earlier.decision or by_edit,
        note=earlier.note if note is None else grammar.fold(note),
        text=words if edited or panels else earlier.text,
        panels=panels or earlier.panels,
        people=tuple(described.values()),
    )
    if review == earlier:
        return None
    if edited and not words:
        raise BadInput("caption: is empty; mark the row as drop where it is to go")
    becomes = review.decision or row.decision
    if edited and becomes == "keep" and not grammar.is_joint(words, task):
        raise BadInput(f"caption: the edited caption lacks one of {' '.join(task.markers)}")
    values = {"decision": (row.decision, becomes), "caption": (row.caption.text, words)}
    values["note"] = (earlier.note, review.note)
    values["panels"] = (" ".join(there), " ".join(panels or there))
    caption = row.caption
    if people and caption.parts:
        caption = replace(caption, parts=grammar.redescribed(caption.parts, people))
        values["people"] = (people_cell(row.caption.parts), people_cell(caption.parts))
    fields = tuple((name, was, now) for name, (was, now) in values.items() if was != now)
    problems = budget.checked(grammar.edited(caption, words, task), task, counter).problems if edited else ()
    # Where no field changes a person says what the toolkit said.
    return Change(review, fields or (("decision", row.decision, becomes),), problems)


# ---- people


def people_cell(parts: Parts | None) -> str:
    """Who is in a grid and how they look, on one line; empty for a caption that came as one text."""
    return "; ".join(map(_entry, parts.people)) if parts else ""


def _entry(person: Person) -> str:
    looks, changes = (text.replace(";", ",") for text in (person.looks, person.changes))
    return f"{person.name}: {looks}{f' (changes: {changes})' if changes else ''}".strip()


def people_in(cell: str) -> list[Person]:
    """The people of a `people_cell`, edited or not.

    Raises:
        BadInput: somebody stands there twice; the message begins with `people`.
    """
    found: dict[str, Person] = {}
    for entry in filter(None, map(str.strip, cell.split(";"))):
        name, _, told = (part.strip() for part in entry.partition(":"))
        looks, _, changes = told.partition("(changes:") if told.endswith(")") else (told, "", "")
        if name in found:
            raise BadInput(f"people: {name} stands twice; say once how they look")
        found[name] = Person(name, grammar.clean(looks), grammar.clean(changes.removesuffix(")")))
    return list(found.values())


def redescribed(row: Row, people: Iterable[Person]) -> tuple[Person, ...]:
    """Those of the people who look otherwise now than the row's caption has them.

    Raises:
        BadInput: somebody is nobody of this grid, or their looks are missing or can't be written; the message begins
            with `people`.
    """
    known = {person.name: person for person in row.caption.parts.people} if row.caption.parts else {}
    anew = []
    for person in people:
        if not row.caption.parts:
            raise BadInput(
                f"people: the caption came as one text and tells nothing of {person.name} apart; edit the caption"
            )
        if person.name not in known:
            there = f"it has {', '.join(known)}" if known else "it has nobody"
            raise BadInput(f"people: '{person.name}' is nobody of this grid; {there}, whom the caption names")
        if _entry(person) == _entry(known[person.name]):
            continue
        if not person.looks:
            raise BadInput(
                f"people: the looks of {person.name} are missing; say how they look, or take <{person.name}> out of "
                "the caption"
            )
        if found := NO_LOOKS.search(f"{person.looks}{person.changes}"):
            raise BadInput(f"people: the looks of {person.name} hold '{found[0]}'; write them without ; < > [ ]")
        anew.append(person)
    return tuple(anew)


def with_looks(caption: Caption, people: Iterable[Person], task: Task) -> str:
    """The caption's text rendered anew with other looks of some people; what it tells of them already stands once.

    Raises:
        BadInput: the looks hold a marker or the prefix; the message begins with `people`.
    """
    assert caption.parts is not None
    try:
        return grammar.tell(grammar.bared(grammar.redescribed(caption.parts, people)), task)
    except BadReply as error:
        raise BadInput(f"people: {error}") from error


def captioners_word(parts: Parts | None) -> str:
    """What the captioner says ties the panels, and which of them it finds strange; empty where it says nothing."""
    if parts is None:
        return ""
    said = [f"{tie.what} in panels {_numbers(tie.panels)}" for tie in parts.ties]
    if parts.strangers:
        many = len(parts.strangers) > 1
        said.append(f"panel{'s' if many else ''} {_numbers(parts.strangers)} {'do' if many else 'does'} not belong")
    if parts.unrelated:
        said.append(f"no panels belong together: {parts.unrelated}")
    return "; ".join(said)


def _numbers(panels: Sequence[int]) -> str:
    *rest, last = (str(panel + 1) for panel in panels)
    return f"{', '.join(rest)} and {last}" if rest else last


# ---- texts by their parts


def with_panels(row: Row, texts: Mapping[int, str], task: Task, summary: str | None = None) -> str:
    """The row's caption with other texts for some panels or another summary, and every other letter as it was.

    Args:
        texts: by place of the panel from 0.
        summary: None where it stays.

    Raises:
        BadInput: a text is empty or holds a marker; the message begins with `panel_` and the panel's number, or with
            `summary`.
    """
    for panel, text in texts.items():
        if not grammar.clean(text):
            raise BadInput(f"panel_{panel + 1}: is empty")
    if summary is not None and not grammar.clean(summary):
        raise BadInput("summary: is empty")
    if not row.caption.text and len(texts) == len(task.markers):  # no text came with the images, a person writes them
        try:
            return grammar.render(summary or "", [texts[panel] for panel in range(len(texts))], (), task)
        except BadReply as error:
            raise BadInput(f"panel_1 to panel_{len(texts)}: {error}") from error
    caption = row.caption
    if summary is not None:
        try:
            caption = grammar.edited(caption, grammar.replace_summary(caption, summary, task), task)
        except BadReply as error:
            raise BadInput(f"summary: {error}") from error
    return moved(replace(row, caption=caption), texts, task)


def moved(row: Row, texts: Mapping[int, str], task: Task) -> str:
    """As `with_panels`, with texts that came along with their pictures; a picture without one has an empty text."""
    caption = row.caption
    for panel, text in texts.items():
        try:
            caption = grammar.edited(caption, grammar.replace_panel(caption, panel, grammar.clean(text), task), task)
        except BadReply as error:
            raise BadInput(f"panel_{panel + 1}: {error}") from error
    return caption.text
