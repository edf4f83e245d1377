"""The rows of a run for somebody who decides on them one by one: read once, then kept up to date grid by grid."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from operator import itemgetter

from pipeline.progress import Progress, silent
from pipeline.records import Grid, Review, Row, Word
from pipeline.review import decisions, reviewers, reviews, risk
from pipeline.review.decisions import Journal, Line, Matched
from pipeline.review.reviewers import Heard
from pipeline.review.reviews import Change, Made
from pipeline.review.risk import Borderline
from pipeline.store import Store
from pipeline.task import Task
from pipeline.text.counters import TokenCounter

TOLD = 1000
"""Rows after which progress is told."""


class CurrentRows:
    """What `reviews.rows` gives, at the cost of what has changed. To be used in the store's thread.

    A line of the file of decisions touches one grid, whose row is made anew. Only if other grids may be found by its
    picture, or another decision may take its place, are all lines matched again. A caption that a person has edited is
    checked when its row is asked for, or in a `check_some`: until then there is an outline of the row.

    Attributes:
        made: what the stages have made of the run.
        users: by record, ids of the grids that have it in a panel now, also of those without a caption.
        borderline: ids of the rows that passed narrowly.
        unchecked: ids of the rows whose captions are still to be checked, in order.
        doubted: ids of the rows that came out of their checks with problems or another decision, the latest last.
            Only grows, so that whoever has seen some of it knows what is new.
    """

    made: Made
    users: dict[str, list[str]]
    borderline: Borderline

    def __init__(self, store: Store, task: Task, counter: TokenCounter) -> None:
        self._store, self._task, self._counter = store, task, counter
        self._version: tuple[int, int] | None = None
        self.unchecked: dict[str, None] = {}
        self.doubted: list[str] = []

    def update(self, progress: Progress = silent) -> bool:
        """Takes up what has changed in the run's tables and decisions since the last call, by whomever; gives whether
        all of it was read.

        Args:
            progress: told of the rows that are made, some at a time.

        Raises:
            BadInput: the decisions can't be read, or the run was cut off after it had begun its groups anew.
        """
        if (version := self._store.version()) != self._version:
            self._read(progress)
            self._version = version
            return True
        self._read_on()
        return False

    def row(self, grid: str) -> Row | None:
        if grid in self.unchecked:
            self._check(grid)
        return self._rows.get(grid)

    def outline(self, grid: str) -> Row | None:
        """As `row`, perhaps not `checked`."""
        return self._rows.get(grid)

    def riskiest_first(self) -> list[Row]:
        """As `risk.riskiest_first`, of outlines."""
        found = [grid for grid in self.made.grids if grid in self._rows]
        return [self._rows[grid] for grid in sorted(found, key=self._ranks.__getitem__)]

    def check_some(self, seconds: float) -> bool:
        """Checks captions for so long, one at least, if there are any; gives whether more are left."""
        end = time.monotonic() + seconds
        while self.unchecked:
            self._check(next(iter(self.unchecked)))
            if time.monotonic() >= end:
                break
        return bool(self.unchecked)

    def _check(self, grid: str) -> None:
        del self.unchecked[grid]
        outline = self._rows[grid]
        row = self._rows[grid] = reviews.checked(outline, self._task, self._counter)
        self._ranks[grid] = risk.rank(row)
        if row.caption.problems or row.decision != outline.decision:
            self.doubted.append(grid)

    def decide(self, changes: Sequence[Change], who: str, reviewer: str = "") -> None:
        """As `reviews.decide`, which reads all grids."""
        reviews.write(self._store.folder, self.made.grids, changes, who, reviewer)

    # ---- reading and matching

    def _read(self, progress: Progress) -> None:
        self.made, self.borderline = Made.read(self._store), Borderline()
        self._of_key = {key: grid for grid in self.made.grids.values() for key in decisions.keys_of(grid)}
        self.users = {}
        self._rows: dict[str, Row] = {}
        self.unchecked.clear()
        self._ranks: dict[str, tuple[bool, bool, float]] = {}
        self._said: dict[str, tuple[Review | None, tuple[Word, ...]]] = {}
        """Of the grids whose rows were made."""
        self._journal = Journal(self._store.folder)
        self._last: dict[tuple[str, ...], tuple[int, Line]] = {}
        """By key, the line that counts and its place; also one that takes everything back."""
        self._heard: dict[tuple[str, ...], Heard] = {}
        self._count = 0
        self._note(self._journal.read_on()[1])
        self._match(progress)

    def _read_on(self) -> None:
        anew, lines = self._journal.read_on()
        if anew:
            self._last.clear()
            self._heard.clear()
        touched = self._note(lines)
        if anew or not all(grid and self._is_found_by_key(grid) for grid in touched):
            self._match()
            return
        for grid in filter(None, touched):
            own = [
                self._last[key] for key in decisions.keys_of(grid) if self._of_key[key] is grid and key in self._last
            ]
            self._settle(grid, self._matched(own, [grid]))

    def _note(self, lines: Sequence[Line]) -> list[Grid | None]:
        """Takes up new lines, and gives their grids; None for a line that is not found by its key."""
        touched = []
        for line in lines:
            if line.decides:
                self._count += 1
                self._last[line.key] = self._count, line
                if word := line.word:
                    self._heard[line.key] = reviewers.hear(self._heard.get(line.key, {}), word, self._count)
                touched.append(self._of_key.get(line.key))
        return touched

    def _is_found_by_key(self, grid: Grid) -> bool:
        """Whether a decision on a grid can't be one that has no key of ours."""
        return grid.pixels not in self._elsewhere and grid.group.origin not in self._elsewhere

    def _match(self, progress: Progress = silent) -> None:
        """Matches all lines, and makes the rows anew whose reviews are others."""
        strange = [line for key, (_, line) in self._last.items() if key not in self._of_key and line.review]
        self._elsewhere: set[object] = {line.picture for line in strange if line.picture}
        self._elsewhere |= {line.review.panels for line in strange if line.review}
        said = self._matched(self._last.values(), [*self.made.grids.values()])
        for count, grid in enumerate(self.made.grids.values(), start=1):
            self._settle(grid, said)
            if count % TOLD == 0:
                progress("rows", count, len(self.made.grids))

    def _matched(self, placed: Iterable[tuple[int, Line]], grids: Sequence[Grid]) -> Matched:
        lines = [line for _, line in sorted(placed, key=itemgetter(0)) if line.review]
        return decisions.match(lines, grids, self.made.records, self._task, self._heard)

    def _settle(self, grid: Grid, matched: Matched) -> None:
        """Makes the row of a grid, unless it has one of which the same is said."""
        said = matched.reviews.get(grid.id), matched.words.get(grid.id, ())
        if self._said.get(grid.id) == said:
            return
        was = self._rows.pop(grid.id, None)
        self.unchecked.pop(grid.id, None)
        for record in (was.grid if was else grid).group.origin if grid.id in self._said else ():
            self.users[record].remove(grid.id)
        self.borderline.discard(grid.id)
        self._said[grid.id] = said
        row = reviews.outline_of(grid.id, said[0], self.made, self._task, said[1])
        if row and was and was.checked and _edit(row) == _edit(was):
            row = reviews.with_checked(row, was.caption, self._task)
        for record in (row.grid if row else grid).group.origin:
            self.users.setdefault(record, []).append(grid.id)
        if row:
            self._rows[grid.id], self._ranks[grid.id] = row, risk.rank(row)
            self.borderline.add(row)
            if not row.checked:
                self.unchecked[grid.id] = None


def _edit(row: Row) -> Review | None:
    """What a person says of a row that its caption depends on, and perhaps more."""
    return replace(row.review, decision=None, note="", crops=()) if row.review else None
