"""What a reviewer has changed and may undo."""

from __future__ import annotations

from dataclasses import dataclass

from iclora.page import others
from iclora.page.others import State
from pipeline.errors import BadInput
from pipeline.records import Review, Row, Word
from pipeline.review.reviews import Change

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
    def grid(self) -> str:
        return self.change.review.grid

    @property
    def is_word(self) -> bool:
        """Whether it is no more than what the reviewer says of a row."""
        return {name for name, _, _ in self.change.fields} <= {"decision", "note"}

    def back(self, row: Row) -> Change:
        """What takes the change back.

        Args:
            row: as it is now.

        Raises:
            Stale: it is not as the change left it, and that is not only because others have decided.
        """
        now = State.of(row)
        if now == self.after:
            back = tuple((name, becomes, was) for name, was, becomes in self.change.fields)
            before = self.before or Review(row.id, None)
            return Change(before, back, says=self.said if self.change.says else None)
        if not (self.is_word and self.change.says and now.differs_by_others(self.after, self.said.reviewer)):
            raise Stale(row)
        return others.withdrawal(row, self.said)


@dataclass(frozen=True)
class Step:
    """What was changed at once, in one row or in several."""

    number: int
    parts: tuple[Part, ...]
    who: str
    """Under which name the log keeps it."""
