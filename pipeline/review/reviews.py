"""A person's decisions on the grids of a run: the rows that they decide on, and what an edit changes.

The table, the page and the command line all go through here, so that all of them obey the same rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from pipeline.consistency import verdict
from pipeline.errors import BadInput
from pipeline.records import (
    Caption,
    Corrections,
    Crop,
    Decision,
    Grid,
    Group,
    Parts,
    Person,
    Record,
    Review,
    Row,
    Scores,
    Word,
    content_id,
)
from pipeline.review import cropping, decisions, notes, ties
from pipeline.review.decisions import Matched
from pipeline.review.people import people_cell, redescribed
from pipeline.store import Store
from pipeline.task import Task
from pipeline.text import budget, grammar, lint
from pipeline.text.corrections import corrected, rearranged
from pipeline.text.counters import TokenCounter

DECISIONS: tuple[Decision, ...] = get_args(Decision)
BLANK = Caption("", "", "", (), captioner="person")


@dataclass(frozen=True)
class Change:
    """One edited row: the resulting review, and the old and new value of every field that changes."""

    review: Review
    fields: tuple[tuple[str, str, str], ...]
    problems: tuple[str, ...] = ()
    """Problems of the caption, if that was edited and they were asked for."""
    says: Word | None = None
    """What the reviewer says from then on; None if that stays as it was."""


def grids(store: Store, task: Task) -> list[Grid]:
    """Every grid with the panels that count: a person's choice of pictures takes precedence over ours.

    A grid with other panels keeps its id and has a picture of its own, drawn by whoever changes the panels.
    """
    made = _made(store)
    word = _decided(store, made, task)
    return [arranged_by(grid, word.reviews.get(grid.id), word.records) for grid in made]


def decided(store: Store, task: Task) -> Matched:
    """What people decided, and which of it fits no grid of the run; also of a run that was cut off."""
    return _decided(store, store.items(Grid, "grids"), task)


def decide(store: Store, changes: Sequence[Change], who: str, reviewer: str = "") -> None:
    """Writes changes down for good. To be called within `decisions.deciding`.

    Args:
        who: `page`, `python`, or the path of a table.
        reviewer: the name of who decided, if they gave one.

    Raises:
        BadInput: they can't be written, and none of them is.
    """
    write(store.folder, {grid.id: grid for grid in _made(store)}, changes, who, reviewer)


def write(folder: Path, grids: Mapping[str, Grid], changes: Sequence[Change], who: str, reviewer: str = "") -> None:
    """As `decide`, if the run's grids as they were composed have been read before."""
    at = decisions.now()
    lines = [
        decisions.line_on(grids[one.review.grid], one.review, one.fields, who, reviewer, one.says, at)
        for one in changes
    ]
    decisions.append(folder, lines)


def _made(store: Store, records: Mapping[str, Record] | None = None) -> list[Grid]:
    """Every grid as it was composed.

    Args:
        records: those of the run by id, if they have been read.

    Raises:
        BadInput: the run was cut off after it had begun its pictures or groups anew.
    """
    groups = {group.id: group for group in store.items(Group, "groups", records)}
    found = store.items(Grid, "grids", groups)
    if len(found) < store.count("grids"):
        raise BadInput(
            f"the run in {store.folder} was cut off while it measured or grouped its pictures anew, so not all of its "
            "grids can be shown; run 'iclora dataset' on it again, which resumes (no decision is lost)."
        )
    return found


def _decided(store: Store, made: Sequence[Grid], task: Task) -> Matched:
    log = decisions.read(store.folder)
    lines = log.latest()
    chosen = any(line.review and line.review.panels for line in lines)  # a crop is of a panel that the grid has anyway
    records = {record.id: record for record in store.items(Record, "records")} if chosen else {}
    return decisions.match(lines, made, records, task, log.heard())


def arranged_by(grid: Grid, review: Review | None, records: Mapping[str, Record]) -> Grid:
    """A composed grid with the panels that count."""
    if review is None:
        return grid
    panels = tuple(records[record] for record in review.panels) or grid.group.records
    boxes = {crop.record: crop.box for crop in review.crops}
    crops = tuple(boxes.get(record.id) for record in panels)
    if not review.panels and not any(crops):
        return grid
    group = replace(grid.group, records=panels)
    version = content_id("v", grid.id, group.origin, *([crops] if any(crops) else []))[2:]
    path = str(Path(grid.path).with_name(f"{grid.id}-{version}.png"))
    return replace(grid, group=group, path=path, pixels="", crops=crops if any(crops) else ())


def captions(store: Store, task: Task, counter: TokenCounter) -> list[Caption]:
    """The captions that count: a person's text takes precedence over ours, with problems of its own.

    If a person has exchanged panels, the text is theirs too, even an empty one, since ours describes other panels.
    """
    by_id = {grid.id: grid for grid in _made(store)}
    said = _decided(store, [*by_id.values()], task).reviews
    ours = {caption.grid: caption for caption in store.items(Caption, "captions")}
    counting = (_counting(ours.get(grid), by_id.get(grid), said.get(grid), task, counter) for grid in {**ours, **said})
    return [caption for caption in counting if caption]


def _counting(
    ours: Caption | None, grid: Grid | None, review: Review | None, task: Task, counter: TokenCounter
) -> Caption | None:
    """The caption of one grid that counts; None if it has none."""
    caption = _unread(ours, grid, review)
    return _checked(caption, task, counter) if caption and _is_edited(review) else caption


def _checked(caption: Caption, task: Task, counter: TokenCounter) -> Caption:
    """An `_unread` caption, read and with its problems."""
    return budget.checked(grammar.edited(caption, caption.text, task), task, counter)


def _unread(ours: Caption | None, grid: Grid | None, review: Review | None) -> Caption | None:
    """The caption of one grid that counts; None if it has none. Of a person's, only the text is there, and the parts
    are still the captioner's, with the person's panels, looks and corrections.

    If a captioner finds panels unrelated that an earlier one described, a person's text for them still counts.
    """
    if review is None or not _is_edited(review):
        return _corrected(ours, review)
    caption = ours or replace(BLANK, grid=review.grid)
    parts = caption.parts
    if parts and grid and review.panels:
        before = {record.id: place for place, record in enumerate(grid.group.records)}
        parts = grammar.rearranged(parts, [before.get(record) for record in review.panels])
    if parts and review.people:
        parts = grammar.redescribed(parts, review.people)
    parts = parts and corrected(parts, review.corrections)
    text = grammar.fold(review.text)
    return replace(caption, text=text, prefix="", summary="", panels=(), names=(), problems=(), parts=parts)


def _is_edited(review: Review | None) -> bool:
    """Whether a person's text counts."""
    return review is not None and bool(review.text or review.panels)


def _corrected(ours: Caption | None, review: Review | None) -> Caption | None:
    """The captioner's text, with the problems that it has, and with what a person says of its parts."""
    if ours is None or ours.parts is None or review is None or review.corrections is None:
        return ours
    return replace(ours, parts=corrected(ours.parts, review.corrections))


@dataclass(frozen=True)
class Made:
    """What the stages have made of a run's grids; everything by id, that of a grid by the grid's."""

    records: Mapping[str, Record]
    grids: Mapping[str, Grid]
    """As they were composed, in order."""
    captions: Mapping[str, Caption]
    scores: Mapping[str, Scores]
    rejected: Mapping[str, str]
    """Why the filter rejected a grid."""

    @classmethod
    def read(cls, store: Store) -> Made:
        """
        Raises:
            BadInput: the run was cut off after it had begun its pictures or groups anew.
        """
        records = {record.id: record for record in store.items(Record, "records")}
        return cls(
            records,
            {grid.id: grid for grid in _made(store, records)},
            {caption.grid: caption for caption in store.items(Caption, "captions")},
            {found.grid: found for found in store.items(Scores, "scores")},
            {row.id: row.detail for row in store.rejected("filter")},
        )


def rows(store: Store, task: Task, counter: TokenCounter) -> list[Row]:
    """Every captioned grid with its scores, the decision on it and the reasons. A person's decision overrides ours."""
    made, log = Made.read(store), decisions.read(store.folder)
    found = decisions.match(log.latest(), [*made.grids.values()], made.records, task, log.heard())
    reviews, words = found.reviews, found.words
    rows = (row_of(grid, reviews.get(grid), made, task, counter, words.get(grid, ())) for grid in made.grids)
    return [row for row in rows if row]


def row_of(
    grid: str, review: Review | None, made: Made, task: Task, counter: TokenCounter, words: tuple[Word, ...] = ()
) -> Row | None:
    """The row of a grid with what was decided on it; None if it has no caption.

    Scores and rejections belong to the text and the panels that were scored, and to what a person had said of them; of
    a grid that has others now, only panels that are strangers by a person's word have a score.
    """
    outline = outline_of(grid, review, made, task, counter, words)
    return checked(outline, task, counter) if outline else None


def outline_of(
    grid: str, review: Review | None, made: Made, task: Task, counter: TokenCounter, words: tuple[Word, ...] = ()
) -> Row | None:
    """As `row_of`, with an edited caption not checked yet, which takes most of the time. One whose parts a person has
    corrected is: an edited text may call the people of the corrections otherwise."""
    composed, scored = made.grids[grid], made.scores.get(grid)
    caption = _unread(made.captions.get(grid), composed, review)
    if caption is None:
        return None
    is_checked = not _is_edited(review)
    if not is_checked and review and review.corrections:
        caption, is_checked = _checked(caption, task, counter), True
    arranged = arranged_by(composed, review, made.records)
    corrections = caption.parts.corrections if caption.parts else None
    now = (caption.text, arranged.path, corrections)
    fresh = scored is not None and (scored.text, scored.picture, scored.corrections) == now
    scores = scored.scores if scored and fresh else tuple(verdict.persons_scores(caption, task))
    rejected = made.rejected.get(grid) if fresh else " ".join(score.reason for score in scores)
    reasons = (rejected,) if rejected else ()
    decision = (review.decision if review else None) or by_toolkit(reasons, caption, task, is_checked=is_checked)
    return Row(arranged, caption, scores, decision, reasons, review, words, is_checked)


def checked(row: Row, task: Task, counter: TokenCounter) -> Row:
    """The row with its caption read and checked."""
    return row if row.checked else with_checked(row, _checked(row.caption, task, counter), task)


def with_checked(row: Row, caption: Caption, task: Task) -> Row:
    """The row with its caption as that is once it has been checked."""
    decision = row.decision if row.decided else by_toolkit(row.reasons, caption, task)
    return replace(row, caption=caption, decision=decision, checked=True)


def readable(row: Row, task: Task, counter: TokenCounter) -> Row:
    """The row with its caption read, for whoever changes it; checked only if the decision depends on that."""
    if row.checked or not row.decided:
        return checked(row, task, counter)
    return replace(row, caption=grammar.with_text(row.caption, row.caption.text, task))


def by_toolkit(reasons: Sequence[str], caption: Caption, task: Task, *, is_checked: bool = True) -> Decision:
    """What the toolkit decides where no person does.

    Args:
        reasons: why the filter rejected the grid.
        is_checked: whether the caption's problems have been looked for.
    """
    # Captions made of single texts have no summary, which is told; but they can be trained on.
    doubtful = not is_checked or set(caption.problems) - {lint.no_summary(task)}
    return "drop" if reasons else "unsure" if doubtful else "keep"


def change(  # noqa: PLR0913  (one argument a field that a person may change)
    row: Row,
    task: Task,
    counter: TokenCounter | None,
    *,
    decision: Decision | None = None,
    text: str | None = None,
    note: str | None = None,
    panels: tuple[str, ...] = (),
    people: tuple[Person, ...] = (),
    crops: tuple[Crop, ...] | None = None,
    said: Corrections | None = None,
    reviewer: str = "",
) -> Change | None:
    """What these values change about a row; None if they change nothing. A value of None leaves its field alone.

    A text edited in a row marked keep is kept as the person wrote it. In a row that the toolkit dropped or left unsure,
    an edit decides nothing: the toolkit decides again, by what it finds in the new text.

    Args:
        counter: None leaves the problems of a new text to whoever makes the row anew.
        panels: ids of the records that the person wants; empty if they stay as they are.
        people: people with other looks, which a given text already contains; without a text, it is rendered anew.
        crops: all that the grid has from then on.
        said: of the caption's parts; what it leaves open stays. A given text already has looks that it changes; without
            a text, it is rendered anew where it tells them. By itself it decides nothing.
        reviewer: whose word it is. What others decided before, they may say too, which changes no more than that.

    Raises:
        BadInput: the row can't be kept with this text; the message begins with the field's name.
    """
    earlier = row.review or Review(row.id, None)
    people, said = redescribed(row, people), said and ties.checked(row.caption, said)
    after = ties.described(row.caption, people, said)
    if text is None and (people or said):
        text = ties.retold(row.caption, after, people, task)
    words = row.caption.text if text is None else grammar.fold(text)
    edited = words != row.caption.text or bool(people)
    by_edit: Decision | None = "keep" if edited and row.decision == "keep" and not (said and said.strangers) else None
    review = replace(
        earlier,
        decision=decision or earlier.decision or by_edit,
        note=earlier.note if note is None else grammar.fold(note),
        text=words if edited or panels else earlier.text,
        panels=panels or earlier.panels,
        people=tuple({person.name: person for person in (*earlier.people, *people)}.values()),
        crops=earlier.crops if crops is None else crops,
        corrections=_corrections(row, ties.merged(earlier.corrections, said), panels),
    )
    own = row.word_of(reviewer)
    says = _says(own, earlier, review, decision, note)
    if review == earlier and (decision is None or says == own):
        return None
    becomes = review.decision or row.decision
    if edited:
        _check_words(words, becomes, task)
    fields = _fields(row, review, words, after.parts)
    problems = _checked(replace(after, text=words), task, counter).problems if edited and counter else ()
    # If no field changes, the person confirms what the toolkit or somebody else decided.
    return Change(review, fields or (("decision", row.decision, becomes),), problems, says if says != own else None)


def _corrections(row: Row, said: Corrections | None, panels: tuple[str, ...]) -> Corrections | None:
    """What a person says of the parts, of the panels as they want them.

    Args:
        panels: ids of their records; empty if they stay as they are.
    """
    if said is None or not panels:
        return said
    before = {record.id: place for place, record in enumerate(row.grid.group.records)}
    return rearranged(said, [before.get(panel) for panel in panels])


def _check_words(words: str, becomes: Decision, task: Task) -> None:
    """
    Raises:
        BadInput: no row has this caption, or none that is kept.
    """
    if not words:
        raise BadInput("caption: is empty; mark the row as drop if you don't want it")
    if becomes == "keep" and not grammar.is_joint(words, task):
        raise BadInput(f"caption: the edited caption lacks one of {' '.join(task.markers)}")


def _says(own: Word, earlier: Review, review: Review, decision: Decision | None, note: str | None) -> Word:
    """A reviewer's own word after a change: a decision that they give, or that an edit of theirs makes."""
    said = decision or (review.decision if review.decision != earlier.decision else own.decision)
    if note is not None:
        return replace(own, decision=said, note=review.note)
    return replace(own, decision=said, note="" if own.decision == "drop" and said != "drop" else own.note)


def _fields(row: Row, review: Review, words: str, parts: Parts | None) -> tuple[tuple[str, str, str], ...]:
    """The fields of a row that change: name, old and new value.

    Args:
        words, parts: the caption as it will be.
    """
    earlier, there = row.review or Review(row.id, None), row.grid.group.origin
    values = {
        "decision": (row.decision, review.decision or row.decision),
        "caption": (row.caption.text, words),
        "note": (earlier.note, review.note),
        "panels": (" ".join(there), " ".join(review.panels or there)),
        "crops": (cropping.told(earlier.crops, there), cropping.told(review.crops, there)),
        "people": (people_cell(row.caption.parts), people_cell(parts)),
    }
    if review.corrections != earlier.corrections:
        before, after = (notes.in_cells(one, row.scores) for one in (row.caption.parts, parts))
        values |= {name: (before[name], after[name]) for name in before}
    return tuple((name, was, now) for name, (was, now) in values.items() if was != now)
