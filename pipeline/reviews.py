"""A person's word on the grids of a run: the rows that are decided on, and what an edit changes.

The table, the page and the command line all come through here, so that all of them obey the same rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from pipeline import grammar
from pipeline.errors import BadInput, BadReply
from pipeline.records import Caption, Decision, Grid, Record, Review, Row, Scores, content_id
from pipeline.store import Store
from pipeline.task import Task

DECISIONS: tuple[Decision, ...] = get_args(Decision)
BLANK = Caption("", "", "", (), captioner="person")


@dataclass(frozen=True)
class Change:
    """One edited row: the review that it makes, and per field what was and what becomes."""

    review: Review
    fields: tuple[tuple[str, str, str], ...]


def grids(store: Store) -> list[Grid]:
    """Every grid with the panels that count: a person's choice of pictures goes before ours.

    A grid of other panels keeps its id and has a picture of its own, which whoever changes the panels draws.
    """
    return _arranged(store.items(Grid, "grids"), _holding(store))


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


def captions(store: Store, task: Task) -> list[Caption]:
    """The captions that count: a person's text goes before ours, and its problems are its own.

    Where a person has exchanged panels the text is theirs too, even an empty one: ours tells of other panels.
    """
    return _counting(store, store.items(Grid, "grids"), _holding(store), task)


def _counting(store: Store, made: Sequence[Grid], word: Word, task: Task) -> list[Caption]:
    texts = {grid: review.text for grid, review in word.reviews.items() if review.text or review.panels}
    ours = store.items(Caption, "captions")
    # A captioner that finds a grid's panels unrelated, where another found words for them, does not unsay a person's.
    lacking = {grid.id for grid in made} - {caption.grid for caption in ours}
    ours += [replace(BLANK, grid=grid) for grid in texts if grid in lacking]
    return [_edited(caption, texts[caption.grid], task) if caption.grid in texts else caption for caption in ours]


def _edited(caption: Caption, text: str, task: Task) -> Caption:
    parsed = grammar.parse(text, task)
    return replace(caption, text=parsed.text, summary=parsed.summary, panels=parsed.panels, names=parsed.names,
                   prefix=parsed.prefix, problems=parsed.problems)  # fmt: skip


def rows(store: Store, task: Task) -> list[Row]:
    """Every captioned grid with its scores, the decision on it and why. A person's word goes before ours.

    Scores and rejections belong to the text and the panels that were scored; a grid that has others since has none.
    """
    made, word = store.items(Grid, "grids"), _holding(store)
    counting = {caption.grid: caption for caption in _counting(store, made, word, task)}
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


def change(
    row: Row,
    task: Task,
    *,
    decision: Decision | None = None,
    text: str | None = None,
    note: str | None = None,
    panels: tuple[str, ...] = (),
) -> Change | None:
    """What these values change of a row, each left as it is where it is None; None where they change nothing.

    A text edited in a row that is marked keep is kept as the person wrote it. In one that the toolkit dropped or left
    unsure the edit decides nothing: the toolkit does again, by what it finds in the new text.

    Args:
        panels: ids of the records that the person wants; empty where they stay as they are.

    Raises:
        BadInput: the row can't be kept with this text; the message begins with the field's name.
    """
    earlier = row.review or Review(row.id, None)
    there = row.grid.group.origin
    words = row.caption.text if text is None else grammar.fold(text)
    edited = words != row.caption.text
    by_edit: Decision | None = "keep" if edited and row.decision == "keep" else None
    review = replace(
        earlier,
        decision=decision or earlier.decision or by_edit,
        note=earlier.note if note is None else grammar.fold(note),
        text=words if edited or panels else earlier.text,
        panels=panels or earlier.panels,
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
    fields = tuple((name, was, now) for name, (was, now) in values.items() if was != now)
    return Change(review, fields or (("decision", row.decision, becomes),))  # a person says what the toolkit said


def with_panels(row: Row, texts: Mapping[int, str], task: Task) -> str:
    """The row's caption with other texts for some panels and every other letter as it was.

    Args:
        texts: by place of the panel from 0.

    Raises:
        BadInput: a text is empty or holds a marker; the message begins with `panel_` and the panel's number.
    """
    for panel, text in texts.items():
        if not grammar.clean(text):
            raise BadInput(f"panel_{panel + 1}: is empty")
    if not row.caption.text and len(texts) == len(task.markers):  # no text came with the images, a person writes them
        try:
            return grammar.render("", [texts[panel] for panel in range(len(texts))], (), task)
        except BadReply as error:
            raise BadInput(f"panel_1 to panel_{len(texts)}: {error}") from error
    return moved(row, texts, task)


def moved(row: Row, texts: Mapping[int, str], task: Task) -> str:
    """As `with_panels`, with texts that came along with their pictures; a picture without one has an empty text."""
    caption = row.caption
    for panel, text in texts.items():
        try:
            caption = _edited(caption, grammar.replace_panel(caption, panel, grammar.clean(text), task), task)
        except BadReply as error:
            raise BadInput(f"panel_{panel + 1}: {error}") from error
    return caption.text
