"""What a reviewer does with one row or some: decide, edit, exchange panels. `bulk` has what is done with all of them.

Knows nothing about browsers. Every change names the base of each row that the reviewer saw; if a row has changed since,
in another tab or through a table, the change is refused and the row is returned as it is now. What others decide on a
row that this reviewer has not decided yet is not seen, and refuses nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from iclora.page.errors import Unknown
from iclora.page.judging import Judging, Typed
from iclora.page.looking import source_of
from iclora.page.others import Shown, State
from iclora.page.steps import WHO, Part, Stale, Step
from iclora.run import Run
from pipeline.errors import BadInput
from pipeline.records import Decision, Record, Row
from pipeline.review import cropping, decisions, reviews
from pipeline.review.reviews import Change
from pipeline.review.texts import moved
from pipeline.stages import compose
from pipeline.text import grammar


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

    def edit(self, grid: str, base: str, typed: Typed, decision: Decision | None = None) -> Step | None:
        """Another text, other looks of people, other ties, with a decision if one is given.

        Raises:
            BadInput: the row can't be kept with this text, or something can't be said like this.
            Stale, Unknown: the row has changed, or doesn't exist.
        """
        with self._seen(grid, base) as row:
            people = self._people(row, typed)
            words = self.check(row, typed).text if people or typed.said else typed.text
            change = self._change(row, decision=decision, text=words, people=people, said=typed.said)
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

    def step(self, number: int) -> Step:
        """
        Raises:
            Unknown: there is no such step.
        """
        step = next((step for step in self.steps if step.number == number), None)
        if step is None:
            raise Unknown(f"there is no step {number} to undo; steps can be undone as long as the page is served.")
        return step

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
        after = self.outlines(row.id for row, _ in changes)
        return self.add_step(
            [
                Part(row.review, row.word_of(self.reviewer), change, State.of(now))
                for (row, change), now in zip(changes, after, strict=True)
            ],
            who,
        )

    def add_step(self, parts: Iterable[Part], who: str) -> Step:
        """Remembers what was changed at once.

        Args:
            who: under which name the log keeps it.
        """
        number = self.steps[-1].number + 1 if self.steps else 1
        self.steps.append(Step(number, tuple(parts), who))
        return self.steps[-1]
