"""Several reviewers of one run: what one of them sees of the others, and undo that leaves the others' decisions alone.

So that reviews are independent, a reviewer who has neither kept nor dropped a grid sees that others have decided, not
what: the grid is shown as if nobody else had said anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from pipeline.records import Review, Row, Word
from pipeline.review import agreement, reviewers, reviews
from pipeline.review.reviews import Change
from pipeline.task import Task

UNDECIDED = "undecided"


@dataclass(frozen=True)
class State:
    """All that people say about a row, and what they say it about."""

    text: str
    path: str
    review: Review | None
    words: tuple[Word, ...]

    @classmethod
    def of(cls, row: Row) -> State:
        return cls(row.caption.text, row.grid.path, row.review, row.words)

    def differs_by_others(self, earlier: State, reviewer: str) -> bool:
        """Whether nothing but what others than the reviewer decide has changed."""
        same = (self.text, self.path) == (earlier.text, earlier.path)
        own, theirs = _own(self.words, reviewer)
        own_before, theirs_before = _own(earlier.words, reviewer)
        return same and own == own_before and theirs != theirs_before


def _own(words: Iterable[Word], reviewer: str) -> tuple[list[Word], list[Word]]:
    """The reviewer's own word, and those of the others."""
    found = list(words)
    return [one for one in found if one.reviewer == reviewer], [one for one in found if one.reviewer != reviewer]


@dataclass(frozen=True)
class Shown:
    """A row as one reviewer may see it, and what they are told of the reviewers."""

    row: Row
    base: str
    """Its `base_of`."""
    settled: bool
    """Whether this reviewer has kept or dropped it."""
    told: str
    """Who decided, in words."""
    waiting: int
    """How many others have decided it, and what is hidden until this reviewer has."""
    disagree: bool

    @classmethod
    def of(cls, row: Row, reviewer: str, task: Task) -> Shown:
        seen = _hidden(row, reviewer, task)
        return cls(
            row=seen,
            base=base_of(seen),
            settled=row.word_of(reviewer).settled,
            told=_told(seen, reviewer),
            waiting=sum(word.settled for word in row.words) - sum(word.settled for word in seen.words),
            disagree=reviewers.disagree(row.words),
        )


def _hidden(row: Row, reviewer: str, task: Task) -> Row:
    """The row without what others decided, if the reviewer hasn't decided yet."""
    own, theirs = _own(row.words, reviewer)
    if not theirs or row.review is None or any(word.settled for word in own):
        return row
    mine = row.word_of(reviewer)
    review = replace(row.review, decision=mine.decision, note=mine.note)
    decision = mine.decision or reviews.by_toolkit(row.reasons, row.caption, task, is_checked=row.checked)
    return replace(row, decision=decision, review=None if review == Review(row.id, None) else review, words=tuple(own))


def base_of(row: Row) -> str:
    """Hash of everything that a reviewer sees of a row as it is shown; a change based on another one is stale.

    It holds within one process: a page does not outlive its server. What the toolkit decides by an edited text is not
    part of it, since that is known only when the text has been checked.
    """
    decision = row.review.decision if row.review else row.decision
    seen = (decision, row.reasons, row.caption.text, row.review, row.grid.path, row.words)
    return format(hash(seen) & 0xFFFF_FFFF_FFFF_FFFF, "x")


def _told(seen: Row, reviewer: str) -> str:
    """Who decided, by name where anybody has one."""
    if not seen.decided:
        return "toolkit"
    names = reviewers.who_says(seen.words, seen.decision)
    named = reviewer or any(word.reviewer for word in seen.words)
    return " and ".join(names) if names and named else "person"


def withdrawal(row: Row, said: Word) -> Change:
    """What takes a reviewer's word back where others have decided since: the latest of what still stands counts.

    Args:
        said: what the reviewer said before, which is their word again.
    """
    review, mine = row.review or Review(row.id, None), row.word_of(said.reviewer)
    left = reviewers.standing(_own(row.words, said.reviewer)[1]) or said
    note = left.note if review.note == mine.note else review.note
    was, becomes = (word.decision or UNDECIDED for word in (mine, said))
    return Change(replace(review, decision=left.decision, note=note), (("own decision", was, becomes),), says=said)


# ---- as they are sent to the browser


def words(seen: Row) -> list[dict[str, str]]:
    """The reviewers' decisions by name, if there are several."""
    several = len(seen.words) > 1
    return [
        {"name": reviewers.told(word.reviewer), "decision": word.decision or UNDECIDED, "note": word.note}
        for word in (seen.words if several else ())
    ]


def agreed(rows: Iterable[Row], reviewer: str) -> dict[str, Any]:
    """Whether there are several reviewers, who this one is, and how far they agree."""
    said = [row.words for row in rows if row.words]
    everybody = {word.reviewer for each in said for word in each} | {reviewer}
    found = agreement.measure(said)
    return {
        "several": len(everybody) > 1,
        "reviewer": reviewers.told(reviewer) if reviewer or len(everybody) > 1 else "",
        "agreement": agreement.line(found) if found else "",
    }
