"""What each reviewer says of a grid, beside what counts: names, the latest word of each, and whether they agree.

What counts is the latest word of anyone. A reviewer's own word is their latest; only they change it or take it back.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from pipeline.errors import BadInput
from pipeline.records import Decision, Word
from pipeline.wording import HIDDEN

UNNAMED = "unnamed"
"""What the reviewer without a name is called."""
MOST = 60
"""Characters of a name at most."""

Heard = Mapping[str, tuple[int, Word]]
"""By reviewer, the place of their latest word in the file of decisions, and the word."""


def name_of(given: str | None) -> str:
    """A reviewer's name as it is kept: white space folded, letters and their accents composed; empty for None.

    Raises:
        BadInput: it is empty, too long, has characters that can't be seen, or is what the one without a name is called.
    """
    if given is None:
        return ""
    folded = " ".join(unicodedata.normalize("NFC", given).split())
    if not folded:
        raise BadInput("the reviewer's name is empty; give one, as in --as Ann, or leave it out.")
    if hidden := HIDDEN.search(given):
        raise BadInput(f"the reviewer's name has the character {hidden[0]!a}, which can't be seen; leave it out.")
    if len(folded) > MOST:
        raise BadInput(f"the reviewer's name '{folded[:20]}...' has {len(folded)} characters; use at most {MOST}.")
    if folded.casefold() == UNNAMED:
        raise BadInput(f"'{folded}' is what the reviewer without a name is called; choose another name.")
    return folded


def told(reviewer: str) -> str:
    """A reviewer's name as it is shown, or what stands for it."""
    return reviewer or UNNAMED


def hear(heard: Heard, word: Word, place: int) -> Heard:
    """What is heard after one more word.

    Args:
        place: where it stands in the file; later ones are higher.
    """
    return {**heard, word.reviewer: (place, word)}


def together(some: Iterable[Heard]) -> tuple[Word, ...]:
    """Every reviewer's latest word, in the order of the file; words that were taken back are left out."""
    latest: dict[str, tuple[int, Word]] = {}
    for heard in some:
        for reviewer, (place, word) in heard.items():
            if reviewer not in latest or place > latest[reviewer][0]:
                latest[reviewer] = place, word
    placed = sorted(latest.values(), key=lambda one: one[0])
    return tuple(word for _, word in placed if word.decision or word.note)


def standing(words: Sequence[Word]) -> Word | None:
    """The latest word with a decision."""
    return next((word for word in reversed(words) if word.decision), None)


def disagree(words: Iterable[Word]) -> bool:
    """Whether some reviewers keep what others drop."""
    return len({word.decision for word in words if word.settled}) > 1


def who_says(words: Iterable[Word], decision: Decision) -> list[str]:
    """Who says a decision, as they are called."""
    return [told(word.reviewer) for word in words if word.decision == decision]


def cell(words: Iterable[Word]) -> str:
    """Who decided what, on one line."""
    return "; ".join(f"{told(word.reviewer)}: {word.decision}" for word in words if word.decision)
