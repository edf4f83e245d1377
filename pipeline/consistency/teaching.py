"""Training the belonging rule on a person's decisions, and a preview of what that would change."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.consistency.verdict import Verdict
from pipeline.errors import BadInput
from pipeline.records import Grid
from pipeline.wording import counted

FEWEST = 20
"""Smallest number of decided grids, both kept and dropped ones, that a rule is trained on."""


def lacking(decided: Mapping[str, bool]) -> str:
    """Which decisions are missing before a rule can be trained, as the beginning of a sentence; empty if none are.

    Args:
        decided: by id of the grid, whether a person keeps it.
    """
    kept = sum(decided.values())
    dropped = len(decided) - kept
    kinds = [f"one to {word}" for word, count in (("keep", kept), ("drop", dropped)) if not count]
    count = max(FEWEST - len(decided), len(kinds))
    if count <= 0:
        return ""
    among = f", including {' and '.join(kinds)}" if kinds else ""
    return (
        f"training the rule takes {FEWEST} decided grids of both kinds, got {kept} to keep and {dropped} to drop: "
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
    """A grid that one rule rejects and the other accepts."""

    grid: str
    before: Worst
    after: Worst


@dataclass(frozen=True)
class Preview:
    """How a rule trained on decisions differs from the one before; grids that a person has settled are left out."""

    turns: tuple[Turn, ...]
    counts: Mapping[str, tuple[float, float]]
    """By measure, its share in the total weight before and after."""
    decided: int


def compare(
    before: Verdict,
    after: Verdict,
    grids: Sequence[Grid],
    decided: Mapping[str, bool],
    settled: Collection[str] = (),
) -> Preview:
    """What changes from one verdict on the grids to another.

    Args:
        decided: by id of the grid, whether a person keeps it.
        settled: ids of the grids of which a person has said which panels belong, so that the rule decides nothing.

    Raises:
        BadInput: the run has no fitted rule.
    """
    if before.found is None or after.found is None:
        raise BadInput(
            f"{counted(grids, 'grid has', 'grids have')} no rule that could be trained: too few, or one panel each; "
            "leave out --learn."
        )
    turns = []
    for number, grid in enumerate(grids):
        turn = Turn(grid.id, _worst(before, number), _worst(after, number))
        if turn.before.passes != turn.after.passes and grid.id not in decided and grid.id not in settled:
            turns.append(turn)
    was, becomes = before.found.rule.shares(), after.found.rule.shares()
    counts = {name: (was.get(name, 0.0), becomes.get(name, 0.0)) for name in {**was, **becomes}}
    return Preview(tuple(turns), counts, len(decided))


def _worst(found: Verdict, number: int) -> Worst:
    """With values rounded as in the report, so that report and decision never differ."""
    assert found.panels is not None and found.found is not None
    panel = int(np.argmin(found.panels[number]))
    return Worst(panel, round(float(found.panels[number, panel]), 4), round(found.found.threshold, 4))


def lines(preview: Preview, markers: Sequence[str]) -> Iterator[str]:
    """What a person should know before they apply the new rule, as printed lines."""
    counts = (f"{name} {was:.2f} -> {becomes:.2f}" for name, (was, becomes) in preview.counts.items())
    yield f"weight of each measure: {', '.join(counts)}"
    for fails, change in (
        (True, "would now be rejected as strangers"),
        (False, "would no longer be rejected as strangers"),
    ):
        turns = [turn for turn in preview.turns if turn.before.passes is fails]
        yield f"{counted(turns, 'grid')} {change}{':' if turns else ''}"
        for turn in turns:
            was, becomes = (
                f"{markers[worst.panel]} {worst.score:.4f}, floor {worst.floor:.4f}"
                for worst in (turn.before, turn.after)
            )
            yield f"  {turn.grid}: worst panel {was} -> {becomes}"
    kept = counted(preview.decided, "grid that you have decided on keeps", "grids that you have decided on keep")
    yield f"the {kept} your decisions"
