"""What the commands of the review print: what an edit changes, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from iclora import tables
from iclora.console.dataset import remarks
from iclora.console.output import line, lines
from pipeline.wording import command, counted

if TYPE_CHECKING:
    from iclora.advancing import StageResult
    from iclora.run import Run
    from pipeline.review.reviews import Change


def review_ways(run: Run) -> None:
    """What to do with the table and the contact sheet that were written."""
    lines(run.remarks())
    line(f"Look at {run.folder / 'review.html'}, edit {run.folder / 'captions.csv'}, then type")
    line(f"  {run.command_to_apply}")
    line(f"or review in a browser: {run.command('review', '--serve')}")


def diff(changes: Sequence[Change]) -> None:
    """Every edited row with what was and what becomes of it, and what the linter finds in a new caption."""
    for change in changes:
        line(change.review.grid)
        texts = [name for name, _, _ in change.fields if name in ("caption", "summary") or name.startswith("panel_")]
        for name, was, becomes in change.fields:
            old, new = tables.differing(was, becomes)
            line(f"  {name}: {old} -> {new}")
            if texts and name == texts[-1]:
                lines(f"  problem: {problem}" for problem in change.problems)


def replaced(run: Run, changes: Sequence[Change]) -> None:
    """What a replacement changes, part by part, and in how many captions it changes each part."""
    from pipeline.review import replacing

    diff([replacing.by_field(change, run.task) for change in changes])
    counts = ", ".join(f"{name} {count}" for name, count in replacing.count(changes, run.task).items())
    line(f"{counted(changes, 'caption')}{f' ({counts})' if counts else ''}")


def to_replace(run: Run, words: Sequence[str]) -> None:
    """What to type to make the changes that were only shown."""
    line("Nothing was changed; to replace, type")
    line(f"  {run.command('replace')} {command(words)}")


def stay(grids: Sequence[str]) -> None:
    """Which grids an undo leaves alone."""
    if grids:
        line(f"{counted(grids, 'caption')} edited since, left as they are: {', '.join(grids)}")


def judged(run: Run, changes: Sequence[Change]) -> None:
    """How the rows with edited captions fared in the filter."""
    edited = {one.review.grid for one in changes if {"caption", "people"} & {name for name, _, _ in one.fields}}
    if not edited:
        return
    for row in run.reviewed():
        if row.id in edited:
            found = [*(f"{score.name} {score.value:.3f}" for score in row.scores), *row.reasons]
            decision = f"{row.decision} by your decision" if row.decided else row.decision
            line(f"{row.id} is now {decision}: {', '.join(found) or 'not scored'}")


def exported(run: Run, last: StageResult, told: str) -> None:
    """Where the data set is that was written anew."""
    remarks(run, last)
    line(f"{told}{counted(last.kept, 'grid')} in {run.dataset}")


def learning(run: Run) -> None:
    """What the decisions would teach."""
    from pipeline.consistency import teaching

    lines(teaching.lines(run.preview_learning(), run.task.markers))
