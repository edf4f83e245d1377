"""What a reviewer does with a run: decide, edit, exchange panels, replace a phrase everywhere, undo.

Knows nothing about browsers. Every change names the base of each row that the reviewer saw; if a row has changed since,
in another tab or through a table, the change is refused and the row is returned as it is now. What others decide on a
row that this reviewer has not decided yet is not seen, and refuses nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from iclora.page import others
from iclora.page.errors import Unknown
from iclora.page.judging import Judging
from iclora.page.looking import source_of
from iclora.page.others import Shown, State
from iclora.run import Run
from pipeline.errors import BadInput
from pipeline.records import Decision, Record, Review, Row, Word
from pipeline.review import cropping, decisions, replacing, reviews
from pipeline.review.reviews import Change
from pipeline.review.texts import moved
from pipeline.stages import compose
from pipeline.text import grammar

WHO = "page"


class Stale(BadInput):
    """The row has changed since the reviewer saw it."""

    def __init__(self, row: Row) -> None:
        super().__init__(f"{row.id} has been changed elsewhere; this is its current state, and nothing was changed.")
        self.row = row


@dataclass(frozen=True)
class Part:
    """The change of one row, and what undoes it."""

    before: Review | None
    said: Word
    """The reviewer's own word before it."""
    change: Change
    after: State
    """The row after it."""

    @property
    def is_word(self) -> bool:
        """Whether it is no more than what the reviewer says of a row."""
        return {name for name, _, _ in self.change.fields} <= {"decision", "note"}


@dataclass(frozen=True)
class Step:
    """What was changed at once, in one row or in several."""

    number: int
    parts: tuple[Part, ...]
    who: str
    """Under which name the log keeps it."""


@dataclass(frozen=True)
class Replacements:
    """What one phrase in place of another changes about rows as they were, and what was asked."""

    rows: Mapping[str, Row]
    """By grid."""
    changes: Sequence[Change]
    old: str
    new: str
    inside_words: bool


class ReviewSession(Judging):
    """A run under review by one reviewer.

    Attributes:
        reviewer: their name; empty if they gave none.
        steps: what they have changed and not undone.
        listed: by grid, its entry in the last list as JSON, and what that was made of: the row as shown, whether it
            passed narrowly, and its place.
    """

    def __init__(self, run: Run, reviewer: str = "") -> None:
        super().__init__(run)
        self.reviewer = reviewer
        self.steps: list[Step] = []
        self.listed: dict[str, tuple[tuple[Shown, bool, int], str]] = {}
        self._shown_rows: dict[str, tuple[Row, Shown]] = {}

    def shown(self, row: Row) -> Shown:
        """The row as the reviewer may see it; made anew only when the row is another, since each list has all rows."""
        known = self._shown_rows.get(row.id)
        if known is None or known[0] is not row:
            known = self._shown_rows[row.id] = row, Shown.of(row, self.reviewer, self.task)
        return known[1]

    def decide(self, grid: str, base: str, decision: Decision, note: str | None = None) -> Step | None:
        """A decision, with a note if one is given. A drop needs a reason, which another decision removes.

        Raises:
            BadInput: a drop without a reason.
            Stale, Unknown: the row has changed, or doesn't exist.
        """
        return self.decide_all({grid: base}, decision, note)

    def decide_all(self, seen: Mapping[str, str], decision: Decision, note: str | None = None) -> Step | None:
        """The same decision on several rows, on all or on none.

        Args:
            seen: by grid, the base that the reviewer saw.

        Raises:
            BadInput: a drop without a reason.
            Stale, Unknown: a row has changed, or doesn't exist.
        """
        with self._all_seen(seen) as rows:
            changes = [(row, self._decision(row, decision, note)) for row in rows]
            return self._make([(row, change) for row, change in changes if change])

    def _decision(self, row: Row, decision: Decision, note: str | None) -> Change | None:
        if note is None and row.decided and row.decision == "drop" and decision != "drop":
            note = ""
        if decision == "drop":
            self._check_reason(row, note)
        return self._change(row, decision=decision, note=note)

    def _change(self, row: Row, **said: Any) -> Change | None:
        """As `reviews.change`, by this reviewer."""
        return reviews.change(row, self.task, self.run.counter, reviewer=self.reviewer, **said)

    def _check_reason(self, row: Row, note: str | None) -> None:
        review = self.shown(row).row.review
        old = review.note if review else ""
        if not grammar.fold(old if note is None else note):
            raise BadInput("a drop needs a reason; say in a few words what is wrong.")

    def note(self, grid: str, base: str, note: str) -> Step | None:
        """Another note on a row, which decides nothing.

        Raises:
            BadInput: the row was dropped by a person, and its reason would be gone.
            Stale, Unknown: the row has changed, or doesn't exist.
        """
        with self._seen(grid, base) as row:
            seen = self.shown(row).row
            if seen.decided and seen.decision == "drop":
                self._check_reason(row, note)
            change = self._change(row, note=note)
            return self._make([(row, change)] if change else [])

    def edit(
        self,
        grid: str,
        base: str,
        text: str,
        decision: Decision | None = None,
        looks: Mapping[str, str] | None = None,
    ) -> Step | None:
        """Another text, with a decision and other looks of people if they are given.

        Args:
            looks: by name; the text is rendered with them.

        Raises:
            BadInput: the row can't be kept with this text, or someone's looks can't be written like this.
            Stale, Unknown: the row has changed, or doesn't exist.
        """
        with self._seen(grid, base) as row:
            people = self._people(row, looks)
            words = self.check(row, text, looks).text if people else text
            change = self._change(row, decision=decision, text=words, people=people)
            return self._make([(row, change)] if change else [])

    def swap(self, grid: str, base: str, first: int, second: int) -> Step | None:
        """Swaps two panels, together with their texts.

        Raises:
            BadInput: the caption lacks a marker, so the texts can't be moved.
            Stale, Unknown: the row has changed, or it or a panel doesn't exist.
        """
        with self._seen(grid, base) as row:
            records, texts = list(row.grid.group.records), row.caption.panels
            a, b = self.panel(row, first), self.panel(row, second)
            if a == b:
                raise BadInput(f"a swap takes two panels, got {first} twice.")
            records[a], records[b] = records[b], records[a]
            return self._exchange(row, records, {a: texts[b], b: texts[a]}, None)

    def replace(self, grid: str, base: str, panel: int, record: str) -> Step | None:
        """Puts another image of the same film or folder into a panel and empties its text, which described the old one.

        Raises:
            BadInput: the image is from elsewhere or already in the grid, or the caption lacks the panel's marker.
            Stale, Unknown: the row has changed, or it, the panel or the image doesn't exist.
        """
        with self._seen(grid, base) as row:
            new, records, place = self.record(record), list(row.grid.group.records), self.panel(row, panel)
            if source_of(new) != source_of(records[place]) or new in records:
                raise BadInput(
                    f"{new.source} can't be used here: the panel takes another image of its own film or folder."
                )
            records[place] = new
            return self._exchange(row, records, {place: ""}, "unsure")

    def crop(self, grid: str, base: str, panel: int, box: Sequence[float] | None) -> Step | None:
        """Has a panel show another part of its picture; its text and the decision stay.

        Args:
            box: left, top, right and bottom as shares of the picture; None for what was drawn at first.

        Raises:
            BadInput: it reaches out of the picture, has not the panel's shape, or would be enlarged too much.
            Stale, Unknown: the row has changed, or it or the panel doesn't exist.
        """
        with self._seen(grid, base) as row:
            record, layout = row.grid.group.records[self.panel(row, panel)], self.task.layout
            wanted = None if box is None else cropping.checked(box, record, layout)
            crops = cropping.with_crop(row.review.crops if row.review else (), record, wanted, layout)
            return self._redraw(row, self._change(row, crops=crops))

    def replacements(self, rows: Sequence[Row], old: str, new: str, *, inside_words: bool = False) -> Replacements:
        """As `Run.replacements`, for rows as they were. Takes long and reads no state: it may run in any thread, but
        only in one at a time."""
        found = replacing.find(rows, self.task, self.run.counter, old, new, inside_words=inside_words)
        return Replacements({row.id: row for row in rows}, found, old, new, inside_words)

    def replace_phrase(self, seen: Collection[str], found: Replacements) -> Step | None:
        """As `Run.replace`, as one step. In rows that have changed since, the phrase is looked for once more.

        Args:
            seen: the grids that change, as the reviewer was told.

        Raises:
            BadInput: other captions would change than the reviewer was told.
        """
        with decisions.deciding(self.run.folder):
            rows = {row.id: row for row in self.rows()}
            fresh = [row for grid, row in rows.items() if found.rows.get(grid) is not row]
            anew = replacing.find_any(
                fresh, self.task, self.run.counter, found.old, found.new, inside_words=found.inside_words
            )
            same = rows.keys() - {row.id for row in fresh}
            changes = [*(change for change in found.changes if change.review.grid in same), *anew]
            if {change.review.grid for change in changes} != set(seen):
                raise BadInput(
                    "captions have been changed elsewhere, and nothing was replaced; look at the preview again."
                )
            pairs = [(rows[change.review.grid], change) for change in changes]
            return self._make(pairs, replacing.name_of(found.old, found.new))

    def undo(self, number: int) -> list[str]:
        """Undoes a step by decisions that take it back; gives the grids that it was about.

        Where others have decided since, only the reviewer's own word is taken back, and theirs counts.

        Raises:
            Unknown: there is no such step.
            Stale: a row has changed since in another way, and nothing is undone.
        """
        step = next((step for step in self.steps if step.number == number), None)
        if step is None:
            raise Unknown(f"there is no step {number} to undo; steps can be undone as long as the page is served.")
        with decisions.deciding(self.run.folder):
            rows = self.outlines(part.change.review.grid for part in step.parts)
            changes = [self._back(row, part) for row, part in zip(rows, step.parts, strict=True)]
            who = step.who if step.who == WHO else f"{replacing.UNDO}{step.who}"
            self._rows.decide(changes, who, self.reviewer)
        self.steps.remove(step)
        return [change.review.grid for change in changes]

    def _back(self, row: Row, part: Part) -> Change:
        """What takes a change back, of the row as it is now.

        Raises:
            Stale: the row is not as the change left it, and that is not only because others have decided.
        """
        now = State.of(row)
        if now == part.after:
            back = tuple((name, becomes, was) for name, was, becomes in part.change.fields)
            before = part.before or Review(row.id, None)
            return Change(before, back, says=part.said if part.change.says else None)
        if not (part.is_word and part.change.says and now.differs_by_others(part.after, self.reviewer)):
            raise Stale(row)
        return others.withdrawal(row, part.said)

    @contextmanager
    def _all_seen(self, seen: Mapping[str, str]) -> Iterator[list[Row]]:
        """The rows, if all are as the reviewer saw them; nobody else can decide before the end of the `with`."""
        with decisions.deciding(self.run.folder):
            rows = [self.row(grid) for grid in seen]
            for row in rows:
                if self.shown(row).base != seen[row.id]:
                    raise Stale(row)
            yield rows

    @contextmanager
    def _seen(self, grid: str, base: str) -> Iterator[Row]:
        """As `_all_seen`, of one row."""
        with self._all_seen({grid: base}) as rows:
            yield rows[0]

    def _exchange(
        self, row: Row, records: Sequence[Record], texts: Mapping[int, str], decision: Decision | None
    ) -> Step | None:
        """Draws the grid with other panels, and gives it to the row."""
        text = moved(row, texts, self.task)
        panels = tuple(record.id for record in records)
        return self._redraw(row, self._change(row, decision=decision, text=text, panels=panels))

    def _redraw(self, row: Row, change: Change | None) -> Step | None:
        """Draws the grid as it is after a change, and makes the change."""
        if change is None:
            return None
        made = self._current.made
        arranged = reviews.arranged_by(made.grids[row.id], change.review, made.records)
        compose.write(arranged, self.task.layout.fit, self.run.folder)
        return self._make([(row, change)])

    def _make(self, changes: Sequence[tuple[Row, Change]], who: str = WHO) -> Step | None:
        """Writes changes of rows, all of them or none; None if there is nothing to change."""
        if not changes:
            return None
        self._rows.decide([change for _, change in changes], who, self.reviewer)
        number = self.steps[-1].number + 1 if self.steps else 1
        after = self.outlines(row.id for row, _ in changes)
        parts = (
            Part(row.review, row.word_of(self.reviewer), change, State.of(now))
            for (row, change), now in zip(changes, after, strict=True)
        )
        self.steps.append(Step(number, tuple(parts), who))
        return self.steps[-1]
