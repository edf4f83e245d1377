"""The rows of a run for somebody who decides on them one by one: read once, then kept up to date grid by grid."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
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
FEW = 100
"""Rows that are made anew at once when decisions have come."""


class CurrentRows:
    """What `reviews.rows` gives, at the cost of what has changed. To be used in the store's thread.

    A line of the file of decisions touches one grid, whose row is made anew. Only if other grids may be found by its
    picture, or another decision may take its place, are all lines matched again. If decisions on many grids come at
    once, each row is made when it is asked for, or in a `settle_some`. A caption that a person has edited is checked
    when its row is asked for, or in a `check_some`: until then there is an outline of the row.

    Attributes:
        made: what the stages have made of the run.
        borderline: ids of the rows that passed narrowly, when all rows were last settled.
        doubted: ids of the rows that came out of their checks with problems or another decision, the latest last.
            Only grows, so that whoever has seen some of it knows what is new.
    """

    made: Made
    borderline: Borderline

    def __init__(self, store: Store, task: Task, counter: TokenCounter) -> None:
        self._store, self._task, self._counter = store, task, counter
        self._version: tuple[int, int] | None = None
        self._stale: dict[str, Grid] = {}
        """By id, the grids whose rows are to be made anew."""
        self._unchecked: dict[str, None] = {}
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
        self._freshen([grid])
        if grid in self._unchecked:
            self._check(grid)
        return self._rows.get(grid)

    def outline(self, grid: str) -> Row | None:
        """As `row`, perhaps not `checked`."""
        self._freshen([grid])
        return self._rows.get(grid)

    def riskiest_first(self) -> list[Row]:
        """As `risk.riskiest_first`, of outlines."""
        self._settle_all()
        found = [grid for grid in self.made.grids if grid in self._rows]
        return [self._rows[grid] for grid in sorted(found, key=self._ranks.__getitem__)]

    @property
    def users(self) -> Mapping[str, Sequence[str]]:
        """By record, ids of the grids that have it in a panel now, also of those without a caption."""
        self._settle_all()
        return self._users

    @property
    def left_to_check(self) -> int:
        """How many captions may still have to be checked."""
        return len(self._stale) + len(self._unchecked)

    def settle_some(self, seconds: float) -> bool:
        """Makes rows anew for so long, some at least, if there are any; gives whether more are left."""
        end = time.monotonic() + seconds
        while self._stale:
            self._freshen(islice(self._stale, FEW))
            if time.monotonic() >= end:
                break
        return bool(self._stale)

    def check_some(self, seconds: float) -> bool:
        """As `settle_some`, and then checks captions."""
        end = time.monotonic() + seconds
        if self._stale:
            return self.settle_some(seconds) or bool(self._unchecked)
        while self._unchecked:
            self._check(next(iter(self._unchecked)))
            if time.monotonic() >= end:
                break
        return bool(self._unchecked)

    def _check(self, grid: str) -> None:
        del self._unchecked[grid]
        outline = self._rows[grid]
        row = self._rows[grid] = reviews.checked(outline, self._task, self._counter)
        self._ranks[grid] = risk.rank(row)
        if row.caption.problems or row.decision != outline.decision:
            self.doubted.append(grid)

    def decide(self, changes: Sequence[Change], who: str, reviewer: str = "") -> None:
        """As `reviews.decide`, which reads all grids."""
        reviews.write(self._store.folder, self.made.grids, changes, who, reviewer)

    def write(self, lines: Sequence[Line], content: bytes) -> None:
        """Adds lines to the file of decisions, which need not be read from it then. To be called within
        `decisions.deciding`, after an `update`.

        Args:
            content: the lines as they are written.

        Raises:
            BadInput: they can't be written, and none of them is.
        """
        decisions.append_written(self._store.folder, content)
        if self._journal.skip(content):
            self._take_up(lines)

    def counts(self, line: Line) -> bool:
        """Whether nothing has been decided on a line's grid since the line."""
        return self._last.get(line.key, (0, None))[1] == line

    # ---- reading and matching

    def _read(self, progress: Progress) -> None:
        self.made, self.borderline = Made.read(self._store), Borderline()
        self._of_key = {key: grid for grid in self.made.grids.values() for key in decisions.keys_of(grid)}
        self._users: dict[str, list[str]] = {}
        self._rows: dict[str, Row] = {}
        self._stale.clear()
        self._unchecked.clear()
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
            self._note(lines)
            self._match()
        else:
            self._take_up(lines)

    def _take_up(self, lines: Sequence[Line]) -> None:
        """Takes up new lines, behind all that were before."""
        touched = self._note(lines)
        if not all(grid and self._is_found_by_key(grid) for grid in touched):
            self._match()
            return
        self._stale |= {grid.id: grid for grid in touched if grid}
        if len(self._stale) <= FEW:
            self._settle_all()

    def _settle_all(self) -> None:
        self._freshen(self._stale)

    def _freshen(self, names: Iterable[str]) -> None:
        """Makes the rows of grids anew, of those on which something has been decided since."""
        grids = [self._stale.pop(name) for name in [*names] if name in self._stale]
        keys = {key for grid in grids for key in decisions.keys_of(grid) if self._of_key[key] is grid}
        matched = self._matched([self._last[key] for key in keys & self._last.keys()], grids)
        for grid in grids:
            self._settle(grid, matched)

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
        self._stale.clear()
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
        self._unchecked.pop(grid.id, None)
        for record in (was.grid if was else grid).group.origin if grid.id in self._said else ():
            self._users[record].remove(grid.id)
        self.borderline.discard(grid.id)
        self._said[grid.id] = said
        row = reviews.outline_of(grid.id, said[0], self.made, self._task, self._counter, said[1])
        if row and was and was.checked and _edit(row) == _edit(was):
            row = reviews.with_checked(row, was.caption, self._task)
        for record in (row.grid if row else grid).group.origin:
            self._users.setdefault(record, []).append(grid.id)
        if row:
            self._rows[grid.id], self._ranks[grid.id] = row, risk.rank(row)
            self.borderline.add(row)
            if not row.checked:
                self._unchecked[grid.id] = None


def _edit(row: Row) -> Review | None:
    """What a person says of a row that its caption depends on, and perhaps more."""
    return replace(row.review, decision=None, note="", crops=()) if row.review else None
