"""All that the commands print: progress, what each stage let through, tables, and what an edit changes."""

from __future__ import annotations

import itertools
import json
import shlex
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from pathlib import Path

    from iclora.lora import Training
    from iclora.machine import Machine
    from iclora.run import Run, StageResult
    from pipeline.progress import Progress
    from pipeline.review.reviews import Change
    from pipeline.task import Task
    from training.job import Job
    from training.loop import Outcome

# What comes from outside (paths, captions) is never read as markup.
console = Console(soft_wrap=not sys.stdout.isatty(), highlight=False, markup=False, emoji=False)
LONGEST_CELL = 60
"""Characters of a cell that are printed."""
AROUND = 20
"""Characters that are printed on either side of a difference."""
SILENCE = 15.0
"""Seconds between two lines of progress where there is no terminal."""
TASKS_WIDTH = 160
"""Columns of the list of tasks where there is no terminal."""


def line(text: str) -> None:
    """One line, however long: a command in it can be copied as it stands."""
    console.print(text, soft_wrap=True)


def lines(texts: Iterable[str]) -> None:
    for text in texts:
        line(text)


def number(items: Sized | int, noun: str) -> str:
    """`1 row`, `2 rows`."""
    count = items if isinstance(items, int) else len(items)
    return f"{count} {noun}{'' if count == 1 else 's'}"


# ---- progress


@contextmanager
def progress() -> Iterator[Progress]:
    """Bars on a terminal; elsewhere a line every SILENCE seconds at most."""
    if console.is_terminal:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        columns = TextColumn("{task.description:<8}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        with Bars(*columns, console=console) as bars:
            known: dict[str, Any] = {}

            def draw(stage: str, done: int, total: int, /) -> None:
                if stage not in known:
                    known[stage] = bars.add_task(stage, total=total)
                bars.update(known[stage], completed=done)

            yield draw
        return
    last = time.monotonic()

    def report(stage: str, done: int, total: int, /) -> None:
        nonlocal last
        if done < total and time.monotonic() - last > SILENCE:
            last = time.monotonic()
            line(f"{stage}: {done} of {total}")

    yield report


def finished(result: StageResult) -> None:
    """A stage's result as soon as it is there; on a terminal its bar says as much, unless it had nothing to do."""
    if not result.worked:
        line(f"{result.name}: done, {result.kept} kept, nothing to do")
    elif not console.is_terminal:
        counts = f"{result.entered} in, {result.kept} kept, {result.entered - result.kept} rejected"
        line(f"{result.name}: {counts}, {result.seconds:.1f} s")
    lines(f"note: {remark}" for remark in result.facts.get("remarks", ()))


# ---- what a run came to


def summary(run: Run, results: Sequence[StageResult]) -> None:
    """What every stage let through, which captions are missing, how the filter was calibrated, and the next command."""
    from pipeline.consistency import thresholds, verdict
    from pipeline.stages import caption

    table = Table("stage", "in", "kept", "rejected", "seconds", box=None, pad_edge=False)
    for result in results:
        reasons = sorted(result.rejected.items(), key=lambda reason: -reason[1])
        why = ", ".join(f"{count} {reason}" for reason, count in reasons) or "-"
        table.add_row(result.name, str(result.entered), str(result.kept), why, f"{result.seconds:.1f}")
    console.print(table)
    for facts in (result.facts for result in results if result.name == "caption"):
        lines(caption.lines(facts))
    for facts in (result.facts for result in results if result.name == "filter"):
        lines((*thresholds.lines(facts), *verdict.lines(facts.get("belonging", {}))))
        lines(filter(None, [facts.get("no plot")]))
    last = results[-1]
    remarks(run, last)
    if last.name != "export":
        line(f"next: {run.command_to_show(last.name)}")
        return
    fewest = run.task.grids[0]
    if last.kept < fewest:
        line(f"{number(last.kept, 'grid')} may be too few: {run.task.name} is meant to be trained on {fewest} or more.")
    line(f"The data set is in {run.dataset}; look at {run.folder / 'review.html'}.")
    line(f"next: edit {run.folder / 'captions.csv'}, then type")
    line(f"  {run.command_to_apply}")
    line(f"or review in a browser: {run.command('review', '--serve')}")


def remarks(run: Run, last: StageResult) -> None:
    """What a person should know of their decisions, and of files that they changed and that were written anew.

    Args:
        last: the last stage's result.
    """
    lines(run.remarks())
    if last.worked and (kept := last.facts.get("set aside")):
        line(f"Files of the data set had been changed by hand; before it was written anew they were copied to {kept}.")


def packed(archive: Path, run: Run) -> None:
    """An archive, and what to type where it arrives."""
    name = shlex.quote(run.task.name)
    line(f"{archive} ({archive.stat().st_size / 1e6:,.0f} MB); on the other machine type")
    line(f"  tar xf {shlex.quote(archive.name)} && cd {name} && sha256sum -c --quiet SHA256SUMS && cat TRAINERS.md")


def configs(folder: Path, names: Sequence[str]) -> None:
    line(f"{number(names, 'file')} written in {folder}: {', '.join(names)}")


# ---- review


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
            old, new = differing(was, becomes)
            line(f"  {name}: {old} -> {new}")
            if texts and name == texts[-1]:
                lines(f"  problem: {problem}" for problem in change.problems)


def replaced(run: Run, changes: Sequence[Change]) -> None:
    """What a replacement changes, part by part, and in how many captions it changes each part."""
    from pipeline.review import replacing

    diff([replacing.by_field(change, run.task) for change in changes])
    counts = ", ".join(f"{name} {count}" for name, count in replacing.count(changes, run.task).items())
    line(f"{number(changes, 'caption')}{f' ({counts})' if counts else ''}")


def stay(grids: Sequence[str]) -> None:
    """Which grids an undo leaves alone."""
    if grids:
        line(f"{number(grids, 'caption')} edited since, left as they are: {', '.join(grids)}")


def judged(run: Run, changes: Sequence[Change]) -> None:
    """How the rows with edited captions fared in the filter."""
    edited = {one.review.grid for one in changes if {"caption", "people"} & {name for name, _, _ in one.fields}}
    for row in run.reviewed():
        if row.id in edited:
            found = [*(f"{score.name} {score.value:.3f}" for score in row.scores), *row.reasons]
            decision = f"{row.decision} by your decision" if row.decided else row.decision
            line(f"{row.id} is now {decision}: {', '.join(found) or 'not scored'}")


def exported(run: Run, last: StageResult, told: str) -> None:
    """Where the data set is that was written anew."""
    remarks(run, last)
    line(f"{told}{number(last.kept, 'grid')} in {run.dataset}")


def learning(run: Run) -> None:
    """What the decisions would teach."""
    from pipeline.consistency import teaching

    lines(teaching.lines(run.preview_learning(), run.task.markers))


# ---- training


def plan(training: Training) -> None:
    """What a training will see and need, and what it would be refused for."""
    lines(training.lines())
    if missing := training.missing():
        line(f"warning: {missing}")
    line(f"What the model will see: {training.sheet()}")


def trained(outcome: Outcome, job: Job) -> None:
    """What a training came to, and where to look."""
    speed = f", {outcome.seconds / outcome.took:.2f} s per step" if outcome.took else ", nothing to do"
    held_out = "" if outcome.held_out is None else f", held-out loss {outcome.held_out:.4f}"
    line(f"trained: {number(outcome.step, 'step')}{speed}{held_out}")
    if outcome.of_step != outcome.step:
        line(f"The LoRA has the weights of step {outcome.of_step}, whose held-out loss was the best.")
    seen = [job.folder / name for name in (*(["samples.png"] if job.prompted else []), "loss.png")]
    line(f"The LoRA is {outcome.file}; look at {' and '.join(map(str, seen))}.")


# ---- tables


def counts(rows: Mapping[str, int]) -> None:
    lines(f"{name:<10} {count}" for name, count in rows.items())


def table(name: str, rows: list[dict[str, Any]], form: Literal["text", "csv", "json"]) -> None:
    """A table of a run; as text, cells are cut short and the bulkiest columns left out."""
    if form == "json":
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    import pandas as pd

    if name == "events" and form == "text":
        rows = [row | dict(zip(("was", "becomes"), differing(row["was"], row["becomes"]), strict=True)) for row in rows]
    frame = pd.json_normalize(rows, max_level=0 if name == "settings" else None)
    if form == "csv":
        print(frame.to_csv(index=False), end="")
    elif frame.empty:
        print(f"{name} is empty")
    elif name == "settings":
        _settings(rows)
    else:
        print(frame.drop(columns=["histogram"], errors="ignore").map(short).to_string(index=False))


def _settings(rows: Sequence[Mapping[str, Any]]) -> None:
    """A setting per line, with where it comes from, in the order of a task file."""
    width = max(len(row["key"]) for row in rows)
    origins = max(len(row["from"]) for row in rows)
    for row in rows:
        value = row["value"] if isinstance(row["value"], str) else json.dumps(row["value"], ensure_ascii=False)
        print(f"{row['key']:<{width}}  {row['from']:<{origins}}  {short(value)}".rstrip())


def tasks(known: Iterable[Task]) -> None:
    table = Table("task", "panels", "canvas", "markers", "what it is", box=None, pad_edge=False)
    for task in known:
        layout = task.grid_layout
        width, height = layout.canvas
        panels = f"{layout.rows} x {layout.cols}"
        table.add_row(task.name, panels, f"{width}x{height}", " ".join(task.markers), task.title)
    Console(width=TASKS_WIDTH if not console.is_terminal else None, markup=False).print(table)


def machine(found: Machine) -> None:
    line(f"device      {found.device}, {number(found.threads, 'thread')}")
    line(f"disk free   {found.disk_free:.0f} GiB")
    lines(f"{name:<22} {version}" for name, version in found.versions.items())
    for one in found.weights:
        here = "on this machine" if one.here else f"not on this machine; hf download {one.repo}"
        line(f"{one.kind:<11} {one.repo}: {here}")


def text(content: str) -> None:
    """A text as it is."""
    print(content)


# ---- values cut short


def short(value: object) -> str:
    text = str(value)
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 3]}..."


def differing(was: str, becomes: str) -> tuple[str, str]:
    """Two texts without most of what they share at either end, so that a changed word in a long caption stands out."""
    start = _shared(was, becomes)
    end = _shared(was[start:][::-1], becomes[start:][::-1])
    return _cut(was, start, end), _cut(becomes, start, end)


def _shared(a: str, b: str) -> int:
    """How many characters two texts share at their start."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def _cut(text: str, start: int, end: int) -> str:
    """What lies between the shared ends of a text, with AROUND characters of each."""
    first, last = max(start - AROUND, 0), min(len(text) - end + AROUND, len(text))
    return f"'{'...' if first else ''}{text[first:last]}{'...' if last < len(text) else ''}'"
