"""A person's word on the grids of a run: the rows that are decided on, and what an edit changes.

The table, the page and the command line all come through here, so that all of them obey the same rules.
"""

from __future__ import annotations

import hashlib
import json
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


@dataclass(frozen=True)
class Change:
    """One edited row: the review that it makes, and per field what was and what becomes."""

    review: Review
    fields: tuple[tuple[str, str, str], ...]


def grids(store: Store) -> list[Grid]:
    """Every grid with the panels that count: a person's choice of pictures goes before ours.

    A grid of other panels keeps its id and has a picture of its own, which whoever changes the panels draws.
    """
    chosen = {review.grid: review.panels for review in _reviews(store) if review.panels}
    made = store.items(Grid, "grids")
    if not chosen:
        return made
    known = _records(store)
    return [rearranged(grid, [known[r] for r in chosen[grid.id]]) if grid.id in chosen else grid for grid in made]


def rearranged(grid: Grid, records: Sequence[Record]) -> Grid:
    """The grid with these records in this order."""
    group = replace(grid.group, records=tuple(records))
    version = content_id("v", grid.id, group.origin)[2:]
    return replace(grid, group=group, path=str(Path(grid.path).with_name(f"{grid.id}-{version}.png")))


def _reviews(store: Store) -> list[Review]:
    """The reviews that hold; one for pictures that have left the run does not: its grid is undecided as before."""
    found = store.items(Review, "reviews")
    if not any(review.panels for review in found):
        return found
    known = _records(store)
    return [review for review in found if all(record in known for record in review.panels)]


def _records(store: Store) -> dict[str, Record]:
    return {record.id: record for record in store.items(Record, "records")}


def captions(store: Store, task: Task) -> list[Caption]:
    """The captions that count: a person's text goes before ours, and its problems are its own.

    Where a person has exchanged panels the text is theirs too, even an empty one: ours tells of other panels.
    """
    texts = {review.grid: review.text for review in _reviews(store) if review.text or review.panels}
    made = store.items(Caption, "captions")
    return [_edited(caption, texts[caption.grid], task) if caption.grid in texts else caption for caption in made]


def _edited(caption: Caption, text: str, task: Task) -> Caption:
    parsed = grammar.parse(text, task)
    return replace(caption, text=parsed.text, summary=parsed.summary, panels=parsed.panels, names=parsed.names,
                   prefix=parsed.prefix, problems=parsed.problems)  # fmt: skip


def rows(store: Store, task: Task) -> list[Row]:
    """Every captioned grid with its scores, the decision on it and why. A person's word goes before ours.

    Scores and rejections belong to the text that was scored; a grid whose caption has changed since has none.
    """
    counting = {caption.grid: caption for caption in captions(store, task)}
    scores = {found.grid: found for found in store.items(Scores, "scores")}
    reviews = {review.grid: review for review in _reviews(store)}
    rejected = {row.id: row.detail for row in store.rejected("filter")}
    found = []
    for grid in grids(store):
        caption, review = counting.get(grid.id), reviews.get(grid.id)
        if caption is None:
            continue
        scored = scores.get(grid.id)
        fresh = scored is not None and scored.text == caption.text
        reasons = (rejected[grid.id],) if fresh and grid.id in rejected else ()
        ours: Decision = "drop" if reasons else "unsure" if caption.problems else "keep"
        decision = review.decision if review else ours
        found.append(Row(grid, caption, scored.scores if scored and fresh else (), decision, reasons, review))
    return found


def base(row: Row) -> str:
    """Hash of what a person could have seen of a row; an edit on another base is stale."""
    review = row.review
    seen = json.dumps([row.decision, row.caption.text, review.note if review else None, row.grid.path])
    digest = hashlib.sha256(seen.encode()).hexdigest()[:10]
    return "b-" + digest.translate(str.maketrans("0123456789", "ghjkmnpqrs"))  # letters only: no number to misread


def change(
    row: Row, task: Task, *, decision: Decision, text: str, note: str, panels: tuple[str, ...] = ()
) -> Change | None:
    """What these values change of a row; None where they are what it has.

    Args:
        panels: ids of the records that the person wants; empty where they stay as they are.

    Raises:
        BadInput: the row can't be kept with this text; the message begins with the field's name.
    """
    note = grammar.fold(note)
    there = row.grid.group.origin
    now = {"decision": decision, "caption": grammar.fold(text), "note": note, "panels": " ".join(panels or there)}
    was = {"decision": row.decision, "caption": row.caption.text, "note": "", "panels": " ".join(there)}
    was |= {"note": row.review.note} if row.review else {}
    fields = tuple((name, was[name], now[name]) for name in now if was[name] != now[name])
    if not fields:
        return None
    edited = now["caption"] != row.caption.text
    if decision == "keep" and edited and not grammar.is_joint(now["caption"], task):
        raise BadInput(f"caption: the edited caption lacks one of {' '.join(task.markers)}")
    kept = now["caption"] if edited or panels else row.review.text if row.review else ""
    return Change(Review(row.id, decision, note, kept, panels or (row.review.panels if row.review else ())), fields)


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
