"""What a reviewer can do with a run: look at rows, decide, edit, exchange panels, ask the captioner again, undo.

Knows nothing about browsers. Every change names the base of the row that the reviewer saw; if the row has changed
since, in another tab or through a table, the change is refused and the row is returned as it is now.
"""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from iclora import stages
from iclora.page.errors import Unknown
from iclora.run import Run
from pipeline.cache import key_of
from pipeline.errors import BadInput
from pipeline.records import Caption, Decision, Person, Record, Review, Row, Score
from pipeline.review import decisions, reviews
from pipeline.review.current import CurrentRows
from pipeline.review.reviews import Change, Made
from pipeline.stages import compose
from pipeline.stages.caption import Asking
from pipeline.text import budget, grammar

WHO = "page"
NEIGHBOURS = 24
"""Images that are offered in place of a panel, the nearest in its film or folder."""


class Stale(BadInput):
    """The row has changed since the reviewer saw it."""

    def __init__(self, row: Row) -> None:
        super().__init__(f"{row.id} has been changed elsewhere; this is its current state, and nothing was changed.")
        self.row = row


@dataclass(frozen=True)
class Step:
    """A change that was made, and what undoes it."""

    number: int
    before: Review | None
    change: Change
    base: str
    """The row's base after it; from any other base the step can't be undone on its own."""


@dataclass(frozen=True)
class Offer:
    """An image that may take a panel's place."""

    record: Record
    used: str
    """Id of another grid that already uses it; empty if none does."""


class ReviewSession:
    """A run under review. Whatever reads or writes its state must stay in the thread that opened it.

    `score` and `ask` take long and read no state: they may run in any thread, but each in only one at a time.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.task = run, run.task
        self.steps: list[Step] = []
        self._shown: dict[str, list[str]] = {}
        """Texts that the captioner has written for a grid in this session."""
        self._rows = CurrentRows(run.store, run.task, run.counter)
        self._sequences: tuple[Made | None, dict[tuple[str, str], list[Record]]] = (None, {})
        """The run's images by film or folder."""

    # ---- looking

    @property
    def _current(self) -> CurrentRows:
        if self._rows.update():
            gc.freeze()  # it stays; looking through all of it for cycles would hold up a request now and then
        return self._rows

    def rows(self) -> list[Row]:
        """All rows, those that most need a look first."""
        return self._current.riskiest_first()

    @property
    def borderline(self) -> Container[str]:
        """Ids of the rows that passed narrowly, when rows were last looked at."""
        return self._rows.borderline

    def row(self, grid: str) -> Row:
        """
        Raises:
            Unknown: the run has no such grid.
        """
        row = self._current.row(grid)
        if row is None:
            raise Unknown(f"this run has no grid '{grid}'.")
        return row

    def caption(self, grid: str) -> Caption | None:
        """What the captioner wrote, regardless of later edits."""
        return self._current.made.captions.get(grid)

    def facts(self) -> dict[str, Any]:
        """What the filter last found: the thresholds."""
        mark = self.run.store.mark("filter")
        return mark.facts if mark else {}

    def place(self, grid: str) -> int:
        """A grid's position in the run, which determines the names of its people."""
        return [*self._current.made.grids].index(grid)

    def record(self, record: str) -> Record:
        """
        Raises:
            Unknown: the run has no such image.
        """
        if record not in self._current.made.records:
            raise Unknown(f"this run has no image '{record}'.")
        return self._rows.made.records[record]

    def offers(self, row: Row, panel: int) -> list[Offer]:
        """Images of the panel's own film or folder that the grid doesn't use: unused ones first, then the nearest.

        Raises:
            Unknown: the grid has no such panel.
        """
        old = row.grid.group.records[self._panel(row, panel)]
        users, sequence = self._current.users, self._sequence(_source(old))
        places = {record.id: place for place, record in enumerate(sequence)}
        offers = [
            Offer(record, users[record.id][-1] if users.get(record.id) else "")
            for record in sequence
            if record.id not in row.grid.group.origin
        ]
        here = places.get(old.id, 0)
        offers.sort(key=lambda offer: (bool(offer.used), abs(places[offer.record.id] - here)))
        return offers[:NEIGHBOURS]

    def _sequence(self, source: tuple[str, str]) -> Sequence[Record]:
        """All images of a film or folder, in order."""
        made, sequences = self._sequences
        if made is not self._rows.made:
            sequences = defaultdict(list)
            for record in self._rows.made.records.values():
                sequences[_source(record)].append(record)
            self._sequences = self._rows.made, sequences
        return sequences[source]

    # ---- changing

    def decide(self, grid: str, base: str, decision: Decision, note: str | None = None) -> Step | None:
        """A decision, with a note if one is given. A drop needs a reason, which another decision removes.

        Raises:
            BadInput: a drop without a reason.
            Stale, Unknown: the row has changed, or doesn't exist.
        """
        with self._seen(grid, base) as row:
            if note is None and row.decided and row.decision == "drop" and decision != "drop":
                note = ""
            old = row.review.note if row.review else ""
            if decision == "drop" and not grammar.fold(old if note is None else note):
                raise BadInput("a drop needs a reason; say in a few words what is wrong.")
            return self._make(row, reviews.change(row, self.task, self.run.counter, decision=decision, note=note))

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
            return self._make(
                row, reviews.change(row, self.task, self.run.counter, decision=decision, text=words, people=people)
            )

    def swap(self, grid: str, base: str, first: int, second: int) -> Step | None:
        """Swaps two panels, together with their texts.

        Raises:
            BadInput: the caption lacks a marker, so the texts can't be moved.
            Stale, Unknown: the row has changed, or it or a panel doesn't exist.
        """
        with self._seen(grid, base) as row:
            records, texts = list(row.grid.group.records), row.caption.panels
            a, b = self._panel(row, first), self._panel(row, second)
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
            new, records, place = self.record(record), list(row.grid.group.records), self._panel(row, panel)
            if _source(new) != _source(records[place]) or new in records:
                raise BadInput(
                    f"{new.source} can't be used here: the panel takes another image of its own film or folder."
                )
            records[place] = new
            return self._exchange(row, records, {place: ""}, "unsure")

    def undo(self, number: int) -> str:
        """Undoes a step by a decision that takes it back; gives the grid that it was about.

        Raises:
            Unknown: there is no such step.
            Stale: the row has changed since.
        """
        step = next((step for step in self.steps if step.number == number), None)
        if step is None:
            raise Unknown(f"there is no step {number} to undo; steps can be undone as long as the page is served.")
        grid = step.change.review.grid
        with self._seen(grid, step.base):
            back = tuple((name, becomes, was) for name, was, becomes in step.change.fields)
            self._rows.decide(Change(step.before or Review(grid, None), back), WHO)
        self.steps.remove(step)
        return grid

    @contextmanager
    def _seen(self, grid: str, base: str) -> Iterator[Row]:
        """The row, if it is as the reviewer saw it; nobody else can decide on it before the end of the `with`."""
        with decisions.deciding(self.run.folder):
            row = self.row(grid)
            if base_of(row) != base:
                raise Stale(row)
            yield row

    def _panel(self, row: Row, panel: int) -> int:
        if not 0 <= panel < row.grid.layout.size:
            raise Unknown(f"{row.id} has panels 0 to {row.grid.layout.size - 1}, got {panel}.")
        return panel

    def _exchange(
        self, row: Row, records: Sequence[Record], texts: Mapping[int, str], decision: Decision | None
    ) -> Step | None:
        """Draws the grid with other panels, and gives it to the row."""
        text = reviews.moved(row, texts, self.task)
        panels = tuple(record.id for record in records)
        change = reviews.change(row, self.task, self.run.counter, decision=decision, text=text, panels=panels)
        compose.write(reviews.rearranged(row.grid, records), self.task.layout.fit, self.run.folder)
        return self._make(row, change)

    def _make(self, row: Row, change: Change | None) -> Step | None:
        """Writes a change; None if there is nothing to change."""
        if change is None:
            return None
        self._rows.decide(change, WHO)
        number = self.steps[-1].number + 1 if self.steps else 1
        step = Step(number, row.review, change, base_of(self.row(row.id)))
        self.steps.append(step)
        return step

    # ---- judging and asking

    def check(self, row: Row, text: str, looks: Mapping[str, str] | None = None) -> Caption:
        """The caption that a row would have with a text and other looks of people, with its problems.

        Args:
            looks: by name; if they differ from the row's, the text is rendered anew.

        Raises:
            BadInput: someone's looks can't be written like this.
        """
        people, caption = self._people(row, looks), self._edited(row.caption, text)
        if not people or not row.caption.parts:
            return caption
        parts = grammar.redescribed(row.caption.parts, people)
        anew = reviews.with_looks(caption, people, self.task)
        return self._edited(replace(row.caption, parts=parts), anew)

    def _edited(self, caption: Caption, text: str) -> Caption:
        return budget.checked(grammar.edited(caption, text, self.task), self.task, self.run.counter)

    def _people(self, row: Row, looks: Mapping[str, str] | None) -> tuple[Person, ...]:
        """People whose looks differ from the row's; what changes about them from panel to panel stays."""
        parts = row.caption.parts
        changes = {person.name: person.changes for person in parts.people} if parts else {}
        said = [Person(name, grammar.clean(told), changes.get(name, "")) for name, told in (looks or {}).items()]
        return reviews.redescribed(row, said)

    def score(
        self, row: Row, text: str, facts: dict[str, Any], looks: Mapping[str, str] | None = None
    ) -> tuple[Score, ...]:
        """Scores a text on a row's panels against the run's thresholds.

        Raises:
            BadInput: someone's looks can't be written like this.
            ToolkitError: the scorer's model is not available.
        """
        if self.run.scorer is None:
            return ()
        from pipeline.stages.filter import score_one

        caption, run = self.check(row, text, looks), self.run
        return score_one(self.task, row.grid, caption, run.scorer, run.folder, run.store.cache, facts)

    def ask(self, row: Row, machine: str, place: int) -> Caption:
        """Another caption by the captioner, to be shown beside the current one; nothing in the run changes.

        Args:
            machine: the captioner's text so far.
            place: the grid's position in the run.

        Raises:
            ToolkitError: the captioner can't be asked, or has nothing new to say.
        """
        run = self.run
        if run.captioner.verbatim:
            raise BadInput(
                f"the captioner '{run.settings.captioner}' takes texts as they are and can't be asked for others."
            )
        known = self._shown.setdefault(row.id, [])
        faults = [score.reason for score in row.scores if not score.passed]
        asking = Asking(stages.captioning(run, {row.id: place}))
        caption = asking.again(row.grid, [machine, row.caption.text, *known], faults)
        known.append(caption.text)
        return caption


def base_of(row: Row) -> str:
    """Hash of everything that a reviewer sees of a row; a change based on another one is stale."""
    review = asdict(row.review) if row.review else None
    return key_of(decision=row.decision, text=row.caption.text, review=review, picture=row.grid.path)


def _source(record: Record) -> tuple[str, str]:
    """What images of one film or folder have in common."""
    return record.position.folder, record.position.film
