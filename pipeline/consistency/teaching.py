"""What a person's decisions teach the rule of what belongs together, and what would come of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.consistency.verdict import Verdict
from pipeline.errors import BadInput
from pipeline.records import Grid

FEWEST = 20
"""Decided grids, some kept and some dropped, from which a rule is taught."""


def lacking(decided: Mapping[str, bool]) -> str:
    """What decisions are missing to teach from, as the beginning of a sentence; empty where none are.

    Args:
        decided: by grid, whether a person keeps it.
    """
    kept = sum(decided.values())
    dropped = len(decided) - kept
    kinds = [f"one to {word}" for word, count in (("keep", kept), ("drop", dropped)) if not count]
    count = max(FEWEST - len(decided), len(kinds))
    if count <= 0:
        return ""
    among = f", among them {' and '.join(kinds)}" if kinds else ""
    return (
        f"a rule is taught by {FEWEST} decided grids of both kinds, got {kept} to keep and {dropped} to drop: "
        f"{count} more {'is' if count == 1 else 'are'} missing{among}"
    )


@dataclass(frozen=True)
class Worst:
    """A grid's worst panel under a rule."""

    panel: int
    """From 0."""
    score: float
    floor: float

    @property
    def passes(self) -> bool:
        return self.score >= self.floor


@dataclass(frozen=True)
class Turn:
    """A grid that one rule rejects and the other lets pass."""

    grid: str
    before: Worst
    after: Worst


@dataclass(frozen=True)
class Lesson:
    """How a rule that was taught differs from the one before. Decided grids turn by neither."""

    turns: tuple[Turn, ...]
    counts: Mapping[str, tuple[float, float]]
    """By measure, what it counts of the whole before and after."""
    decided: int


def compare(before: Verdict, after: Verdict, grids: Sequence[Grid], decided: Mapping[str, bool]) -> Lesson:
    """What changes from one verdict on the grids to another.

    Args:
        decided: by grid, whether a person keeps it.

    Raises:
        BadInput: the verdicts rest on no rule.
    """
    if before.found is None or after.found is None:
        raise BadInput(
            f"the {len(grids)} grids have no rule that could be taught: they are too few, or have one panel each; "
            "go on without --learn."
        )
    turns = []
    for number, grid in enumerate(grids):
        turn = Turn(grid.id, _worst(before, number), _worst(after, number))
        if turn.before.passes != turn.after.passes and grid.id not in decided:
            turns.append(turn)
    was, becomes = before.found.rule.share(), after.found.rule.share()
    counts = {name: (was.get(name, 0.0), becomes.get(name, 0.0)) for name in {**was, **becomes}}
    return Lesson(tuple(turns), counts, len(decided))


def _worst(found: Verdict, number: int) -> Worst:
    """As it is told, so that what is told and what is decided never differ."""
    assert found.panels is not None and found.found is not None
    panel = int(np.argmin(found.panels[number]))
    return Worst(panel, round(float(found.panels[number, panel]), 4), round(found.found.threshold, 4))


def lines(lesson: Lesson, markers: Sequence[str]) -> Iterator[str]:
    """What a person should know before they let it happen."""
    counts = (f"{name} {was:.2f} -> {becomes:.2f}" for name, (was, becomes) in lesson.counts.items())
    yield f"what each measure counts: {', '.join(counts)}"
    for fails, told in (
        (True, "would now be rejected as strangers"),
        (False, "would be rejected as strangers no more"),
    ):
        turns = [turn for turn in lesson.turns if turn.before.passes is fails]
        yield f"{len(turns)} grids {told}{':' if turns else ''}"
        for turn in turns:
            was, becomes = (
                f"{markers[worst.panel]} {worst.score:.4f}, floor {worst.floor:.4f}"
                for worst in (turn.before, turn.after)
            )
            yield f"  {turn.grid}: worst panel {was} -> {becomes}"
    yield f"the {lesson.decided} grids that you have decided on stay as you decided"
