"""Changes of thousands of rows at once, of which no request does more than a little.

They are worked out in a thread of their own while others change rows, and written in one go if no row has changed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from iclora.page.others import State
from iclora.page.session import ReviewSession
from iclora.page.steps import WHO, Part, Step
from pipeline.errors import BadInput
from pipeline.records import Grid, Row
from pipeline.review import decisions, replacing
from pipeline.review.decisions import Line
from pipeline.review.replacing import Phrase
from pipeline.review.reviews import Change
from pipeline.task import Task
from pipeline.text.counters import TokenCounter


def is_same(row: Row, other: Row | None) -> bool:
    """Whether nothing has changed about a row, but that its caption may have been checked."""
    return other is not None and (row.grid is other.grid and row.review is other.review and row.words == other.words)


class Search:
    """What one phrase in place of another would change in rows as they were. One thread runs it, others may look.

    Attributes:
        number: tells it from other searches.
        rows: the rows, those that most need a look first; not all of them need be `checked`.
        name: under which the log keeps the replacement.
        looked: how many rows have been looked at.
        changes: what was found in them.
        error: why nothing can be replaced; None if nothing speaks against it.
        is_done: whether all rows have been looked at, or there is an error.
    """

    def __init__(
        self, number: int, rows: Sequence[Row], task: Task, counter: TokenCounter, phrase: Phrase, name: str
    ) -> None:
        self.number, self.rows, self.name = number, rows, name
        self.looked, self.changes = 0, list[Change]()
        self.error: BadInput | None = None
        self.is_done = False
        self._task, self._counter, self._phrase = task, counter, phrase

    def run(self) -> None:
        try:
            for change in self._in(self.rows):
                if self.is_done:
                    return
                self.looked += 1
                if change:
                    self.changes.append(change)
            if not self.changes:
                raise replacing.is_nowhere(self.rows, self._phrase)
        except BadInput as error:
            self.error = error
        self.is_done = True

    def give_up(self) -> None:
        """Has `run` end soon."""
        if not self.is_done:
            self.error, self.is_done = BadInput("another phrase is looked for now; look for this one again."), True

    def _in(self, rows: Iterable[Row]) -> Iterator[Change | None]:
        return replacing.changes_of(rows, self._task, self._counter, self._phrase, problems=False)

    def again(self, rows: Sequence[Row]) -> list[Change]:
        """The changes of rows, of which only those are looked at once more that are not as they were.

        Raises:
            BadInput: some can't be changed like this.
        """
        found = {change.review.grid: change for change in self.changes}
        then = {row.id: row for row in self.rows}
        fresh = [row for row in rows if not is_same(row, then.get(row.id))]
        same = {row.id for row in rows} - {row.id for row in fresh}
        return [*(change for grid, change in found.items() if grid in same), *filter(None, self._in(fresh))]


class Searches:
    """Searches of phrases, of which only the latest is run to its end."""

    def __init__(self, session: ReviewSession) -> None:
        self._session = session
        self.latest: Search | None = None

    def begin(self, old: str, new: str, *, inside_words: bool) -> Search:
        """A search that is still to be run.

        Raises:
            BadInput: there is nothing to look for, or nothing would change.
        """
        phrase, name = Phrase.of(old, new, inside_words=inside_words), replacing.name_of(old, new)
        number = 1
        if self.latest:
            self.latest.give_up()
            number += self.latest.number
        session = self._session
        self.latest = Search(number, session.rows(), session.task, session.run.counter, phrase, name)
        return self.latest

    def of(self, number: int) -> Search:
        """
        Raises:
            BadInput: it is not the latest.
        """
        if self.latest is None or self.latest.number != number:
            raise BadInput("another phrase has been looked for since; look for this one again.")
        return self.latest


class Bulk(ABC):
    """Changes of rows that are made together or not at all. `prepare` may run in any thread, but in only one at a time;
    the rest touches the run's state.
    """

    def __init__(self, session: ReviewSession, who: str) -> None:
        """
        Args:
            who: under which name the log keeps them.
        """
        self.session = session
        self.step: Step | None = None
        """What undoes the changes, once they have been written."""
        self._who, self._at = who, decisions.now()
        self._seen: dict[str, Row] = {}
        self._prepared: dict[str, tuple[Change, Line, bytes]] = {}
        """By grid, its change, and the line as it is and as it is written."""

    @abstractmethod
    def rows(self) -> list[Row]:
        """All rows that it is about, as they are now; not all of them need be `checked`."""

    @abstractmethod
    def changes(self, rows: Sequence[Row]) -> list[Change]:
        """The changes of rows.

        Raises:
            BadInput: some of them can't be changed.
        """

    @abstractmethod
    def written(self) -> None:
        """Called when the changes have been written."""

    @property
    def grids(self) -> list[str]:
        """Those that change."""
        return [*self._prepared]

    @abstractmethod
    def settled(self) -> None:
        """Called when all rows have been made anew."""

    def prepare(self, rows: Sequence[Row], grids: Mapping[str, Grid]) -> None:
        """Prepares the changes of rows; of those that are as they were, they are prepared already.

        Args:
            grids: as they were composed, by id.

        Raises:
            BadInput: some rows can't be changed.
        """
        now = {row.id: row for row in rows}
        fresh = {row.id: row for row in rows if not is_same(row, self._seen.get(row.id))}
        for name in self._seen.keys() - now.keys() | fresh.keys():
            self._prepared.pop(name, None)
        self._seen = now
        for change in self.changes([*fresh.values()]):
            grid, reviewer = grids[change.review.grid], self.session.reviewer
            line = decisions.line_on(grid, change.review, change.fields, self._who, reviewer, change.says, self._at)
            self._prepared[grid.id] = change, line, decisions.written(line)

    def write(self) -> bool:
        """Writes what is prepared, if the rows are as they were then; gives whether it did.

        Raises:
            BadInput: it can't be written, and nothing of it is.
        """
        with decisions.deciding(self.session.run.folder):
            rows = {row.id: row for row in self.rows()}
            if rows.keys() != self._seen.keys() or not all(
                is_same(row, self._seen[grid]) for grid, row in rows.items()
            ):
                return False
            prepared = self._prepared.values()
            self.session.read().write([line for _, line, _ in prepared], b"".join(content for *_, content in prepared))
            self.written()
        return True


class Replacement(Bulk):
    """One phrase in place of another in all captions, as one step."""

    def __init__(self, session: ReviewSession, search: Search) -> None:
        """
        Raises:
            BadInput: the reviewer has not been told yet what would change.
        """
        if search.error or not search.is_done:
            raise search.error or BadInput("the captions are still being looked through; wait for the preview.")
        super().__init__(session, search.name)
        self._search = search
        self._told = {change.review.grid for change in search.changes}
        self._parts: dict[str, Part] = {}

    def rows(self) -> list[Row]:
        return self.session.rows()

    def changes(self, rows: Sequence[Row]) -> list[Change]:
        """
        Raises:
            BadInput: other captions would change than the reviewer was told.
        """
        changes = self._search.again(rows)
        if {*self._prepared, *(change.review.grid for change in changes)} != self._told:
            raise BadInput("captions have been changed elsewhere, and nothing was replaced; look at the preview again.")
        by_id = {row.id: row for row in rows}
        for change in changes:
            row = by_id[change.review.grid]
            after = State(change.review.text, row.grid.path, change.review, row.words)  # if nothing else is said
            self._parts[row.id] = Part(row.review, row.word_of(self.session.reviewer), change, after)
        return changes

    def written(self) -> None:
        self.step = self.session.add_step((self._parts[grid] for grid in self._prepared), self._who)

    def settled(self) -> None:
        """Has undo compare rows with those that came of the change, unless something else has been decided since."""
        steps, rows = self.session.steps, self.session.read()
        if self.step is None or self.step not in steps:
            return
        parts = []
        for part in self.step.parts:
            _, line, _ = self._prepared[part.grid]
            now = rows.outline(part.grid) if rows.counts(line) else None
            parts.append(replace(part, after=State.of(now)) if now and State.of(now) != part.after else part)
        place = steps.index(self.step)
        steps[place] = self.step = replace(self.step, parts=tuple(parts))


class Undo(Bulk):
    """What takes a step back by decisions of its own. Where others have decided since, only the reviewer's own word is
    taken back, and theirs counts."""

    def __init__(self, session: ReviewSession, step: Step) -> None:
        super().__init__(session, step.who if step.who == WHO else f"{replacing.UNDO}{step.who}")
        self._step = step
        self._parts = {part.grid: part for part in step.parts}

    def rows(self) -> list[Row]:
        """
        Raises:
            Unknown: the step has been undone meanwhile, or the run has no such grid any more.
        """
        return self.session.outlines(part.grid for part in self.session.step(self._step.number).parts)

    def changes(self, rows: Sequence[Row]) -> list[Change]:
        """
        Raises:
            Stale: a row has changed since in another way, and nothing is undone.
        """
        return [self._parts[row.id].back(row) for row in rows]

    def written(self) -> None:
        self.session.steps.remove(self.session.step(self._step.number))

    def settled(self) -> None:
        """A step that is undone needs nothing more."""
