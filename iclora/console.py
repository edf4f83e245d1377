"""What the commands print: progress, what each stage let through, and what an edit changes."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from iclora.run import Run
    from pipeline.engines.base import Progress
    from pipeline.review.reviews import Change
    from pipeline.store import Mark
    from training.job import Job
    from training.loop import Outcome

console = Console(soft_wrap=not sys.stdout.isatty(), highlight=False)
WIDEST = 60  # letters of a cell that is printed
AROUND = 20  # letters that are printed on either side of a difference
SILENCE = 15.0  # seconds between two lines of progress where there is no terminal


@contextmanager
def progress() -> Iterator[Progress]:
    """Bars on a terminal; elsewhere a line at most every SILENCE seconds."""
    if console.is_terminal:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        columns = TextColumn("{task.description:<8}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        with Bars(*columns, console=console) as bars:
            known: dict[str, Any] = {}

            def draw(stage: str, done: int, total: int) -> None:
                if stage not in known:
                    known[stage] = bars.add_task(stage, total=total)
                bars.update(known[stage], completed=done)

            yield draw
        return
    last = time.monotonic()

    def tell(stage: str, done: int, total: int) -> None:
        nonlocal last
        if done < total and time.monotonic() - last > SILENCE:
            last = time.monotonic()
            console.print(f"{stage}: {done} of {total}")

    yield tell


def summary(run: Run, marks: list[Mark]) -> None:
    """What every stage let through, how the filter was calibrated, and the next command to type."""
    from collections import Counter

    from pipeline.consistency import thresholds, verdict

    table = Table("stage", "in", "kept", "rejected", "seconds", box=None, pad_edge=False)
    for mark in marks:
        reasons = Counter(row.reason for row in run.store.rejected(mark.name))
        why = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common()) or "-"
        table.add_row(mark.name, str(mark.entered), str(mark.kept), why, f"{mark.seconds:.1f}")
    console.print(table)
    for facts in (mark.facts for mark in marks if mark.name == "filter"):
        for line in (*thresholds.lines(facts), *verdict.lines(facts.get("belonging", {}))):
            console.print(line)
    set_aside(run)
    if marks[-1].name != "export":
        console.print(f"next: {run.command_to_show(marks[-1].name)}")
        return
    fewest = run.task.grids[0]
    if marks[-1].kept < fewest:
        console.print(f"{marks[-1].kept} grids are few: {run.task.name} is meant to be trained on {fewest} or more.")
    console.print(f"The data set is in {run.folder / 'dataset'}; look at {run.folder / 'review.html'}.")
    console.print(f"next: edit {run.folder / 'captions.csv'}, then type")
    console.print(f"  {run.command_to_apply}")
    console.print(f"or review in a browser: {run.command('review', '--serve')}")


def diff(changes: list[Change]) -> None:
    """Every edited row with what was and what becomes, and what the linter finds in a new caption."""
    for change in changes:
        console.print(change.review.grid)
        for name, was, becomes in change.fields:
            old, new = differing(was, becomes)
            console.print(f"  {name}: {old} -> {new}", markup=False)
            if name == "caption":
                lines(f"  problem: {problem}" for problem in change.problems)


def lines(told: Iterable[str]) -> None:
    for line in told:
        console.print(line, markup=False)


def trained(outcome: Outcome, job: Job) -> None:
    """What a training came to, and where to look."""
    speed = f", {outcome.seconds / outcome.took:.2f} s a step" if outcome.took else ", nothing to do"
    held_out = "" if outcome.held_out is None else f", held-out loss {outcome.held_out:.4f}"
    console.print(f"trained: {outcome.step} steps{speed}{held_out}")
    if outcome.of_step != outcome.step:
        console.print(f"The LoRA has the weights of step {outcome.of_step}, whose held-out loss was the best.")
    seen = [job.folder / name for name in (*(["samples.png"] if job.prompted else []), "loss.png")]
    console.print(f"The LoRA is {outcome.file}; look at {' and '.join(map(str, seen))}.")


def set_aside(run: Run) -> None:
    if run.set_aside:
        console.print(f"captions.csv had edits that were not applied; it is kept as {run.set_aside}.")


def short(value: object) -> str:
    text = str(value)
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 3]}..."


def differing(was: str, becomes: str) -> tuple[str, str]:
    """Two texts without most of what they share at both ends, so that a word changed in a long caption is seen."""
    start = _shared(was, becomes)
    end = _shared(was[start:][::-1], becomes[start:][::-1])
    return _cut(was, start, end), _cut(becomes, start, end)


def _shared(a: str, b: str) -> int:
    """Letters at their start that two texts share."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def _cut(text: str, start: int, end: int) -> str:
    """What lies between the shared ends of a text, with AROUND letters of either."""
    first, last = max(start - AROUND, 0), min(len(text) - end + AROUND, len(text))
    return f"'{'...' if first else ''}{text[first:last]}{'...' if last < len(text) else ''}'"
