"""All that the commands print: progress, what each stage let through, tables, what an edit changes, and errors.

Captions, paths, LoRA headers and servers' messages come from outside, so hidden characters (escape codes, changes of
direction) are escaped in everything that is printed.
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal, TextIO

from rich.console import Console
from rich.table import Table

from iclora import tables
from iclora.job_log import JobLog
from iclora.underway import Bars, Lines, Listener
from pipeline.errors import BrokenPlugin, ToolkitError
from pipeline.progress import LOG
from pipeline.wording import command, counted, escaped

if TYPE_CHECKING:
    from pathlib import Path

    from iclora.evaluation import Evaluation
    from iclora.lora import Training
    from iclora.machine import Machine
    from iclora.run import Run, StageResult
    from iclora.sharding import Shard
    from pipeline.progress import Progress
    from pipeline.review.reviews import Change
    from pipeline.task import Task
    from training.handover.folder import Handover
    from training.job import Job
    from training.loop import Outcome


class Output(Console):
    """Standard output. Where its reader has gone, as in `iclora dataset TASK | head`, the work is worth more than what
    is printed about it, and goes on."""

    def on_broken_pipe(self) -> None:
        discard_output()
        error("nobody reads the output any more; the work goes on.", "warning")


def discard_output() -> None:
    """Nothing that is printed from now on, or waits to be, goes anywhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


# What comes from outside (paths, captions) is never read as markup.
console = Output(soft_wrap=not sys.stdout.isatty(), highlight=False, markup=False, emoji=False)
LIST = "\n  "
"""What items of a list in an error begin with; any other line break comes from outside."""


def line(text: str) -> None:
    """One line, however long: a command in it can be copied as it stands."""
    console.print(escaped(text), soft_wrap=True)
    Lines.spoken = time.monotonic()


def lines(texts: Iterable[str]) -> None:
    for text in texts:
        line(text)


def text(content: str) -> None:
    """A text of several lines as it is."""
    lines(content.split("\n"))


# ---- errors


def prepare() -> None:
    """Makes what a terminal's encoding lacks appear escaped instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def error(message: str, kind: Literal["error", "warning"] = "error") -> None:
    print(f"{kind}: {LIST.join(map(escaped, message.split(LIST)))}", file=sys.stderr)


def refusal(message: str) -> None:
    """What a command line is refused with, in lines."""
    print("\n".join(map(escaped, message.rstrip("\n").split("\n"))), file=sys.stderr)


def warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """In place of `warnings.showwarning`: a plug-in that is left out without the line of code that says so."""
    if issubclass(category, BrokenPlugin):
        error(str(message), "warning")
    else:
        refusal(warnings.formatwarning(message, category, filename, lineno, line))


# ---- progress


@contextmanager
def progress() -> Iterator[Progress]:
    """Shows what is under way and what is waited for: bars on a terminal, elsewhere lines; nothing with --quiet."""
    shown = None if _volume == "quiet" else Bars(console) if console.is_terminal else Lines(line)
    listener = Listener(shown, tuple(_logs), line if _volume == "verbose" else None)
    level, passed_on = LOG.level, LOG.propagate
    LOG.addHandler(listener)
    LOG.setLevel(logging.DEBUG)
    LOG.propagate = False  # some packages make the root logger print too
    try:
        with shown.drawn() if shown else nullcontext():
            yield _all([*([shown.report] if shown else []), *(log.report for log in _logs)])
    finally:
        LOG.removeHandler(listener)
        LOG.setLevel(level)
        LOG.propagate = passed_on


def version() -> None:
    from pipeline.plugins import extras

    line(f"iclora {extras.version('iclora') or '(not installed)'}")


def begun(run: Run) -> None:
    """What a first run without a source does, at once: drawing takes a while."""
    if run.settings.drawn and not run.exists:
        line(f"no source given: material to try {run.task.name} with is drawn first; --source takes your own")


def _all(told: Sequence[Progress]) -> Progress:
    def report(stage: str, done: int, total: int, /) -> None:
        for one in told:
            one(stage, done, total)

    return report


Volume = Literal["quiet", "usual", "verbose"]
_volume: Volume = "usual"
"""How much the command under way tells."""


@contextmanager
def volume(chosen: Volume) -> Iterator[None]:
    """Lets a command tell results alone, or also what it begins and where an error comes from.

    Args:
        chosen: quiet shows no progress; verbose prints a line whenever something is begun, and an error's traceback.
    """
    global _volume  # noqa: PLW0603  (there is one command a process, and one terminal)
    before, _volume = _volume, chosen
    try:
        yield
    except (ToolkitError, OSError):
        if chosen == "verbose":
            refusal(traceback.format_exc())
        raise
    finally:
        _volume = before


_logs: list[JobLog] = []
"""The logs that the command under way keeps: its run's, and the one of --log."""


@contextmanager
def logged(file: Path, exit_code: Callable[[BaseException], int], *, waits: bool = False) -> Iterator[None]:
    """Keeps a log of what a command does; one that is kept already is not kept twice.

    Args:
        waits: until the log's folder is there.
        exit_code: the code that the command exits with after an error.

    Raises:
        BadInput: the file can't be written.
    """
    if any(log.file.resolve() == file.resolve() for log in _logs):
        yield
        return
    log = JobLog(file, lambda message: error(message, "warning"), waits=waits)
    _logs.append(log)
    try:
        yield
    except BaseException as ended:
        if isinstance(ended, ToolkitError | OSError):
            log.write("refusal", message=str(ended))
        log.finish(exit_code(ended))
        raise
    else:
        log.finish(0)
    finally:
        _logs.remove(log)


def stopped(code: int) -> None:
    """The last line of the log of a command that Ctrl-C ends, which may end before it can write one itself."""
    for log in _logs:
        log.finish(code)


def finished(result: StageResult) -> None:
    """A stage's result as soon as it is there; on a terminal its bar says as much, unless it had nothing to do."""
    for log in _logs:
        log.write(
            "stage",
            stage=result.name,
            entered=result.entered,
            kept=result.kept,
            rejected=dict(result.rejected),
            seconds=round(result.seconds, 1),
            worked=result.worked,
        )
    if not result.worked:
        line(f"{result.name}: done, {result.kept} kept, nothing to do")
    elif _volume == "quiet":
        pass  # the summary says as much
    elif not console.is_terminal:
        counts = f"{result.entered} in, {result.kept} kept, {result.entered - result.kept} rejected"
        line(f"{result.name}: {counts}, {result.seconds:.1f} s")
    lines(f"note: {remark}" for remark in result.facts.get("remarks", ()))


# ---- what a run came to


def summary(run: Run, results: Sequence[StageResult]) -> None:
    """What every stage let through, which captions are missing, how the filter was calibrated, and the next command."""
    from pipeline.consistency import thresholds, verdict
    from pipeline.stages import caption

    table = Table(box=None, pad_edge=False)
    for name in ("stage", "in", "kept", "rejected", "seconds"):
        table.add_column(name, overflow="fold")
    for result in results:
        reasons = sorted(result.rejected.items(), key=lambda reason: -reason[1])
        why = ", ".join(f"{count} {reason}" for reason, count in reasons) or "-"
        table.add_row(result.name, str(result.entered), str(result.kept), escaped(why), f"{result.seconds:.1f}")
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
    if not run.counts()["captions"]:
        return  # nothing to review; the error that follows says why, and where to read more
    fewest, grids = run.task.grids[0], last.facts.get("grids", last.kept)
    if 0 < grids < fewest:
        line(f"{counted(grids, 'grid')} may be too few: {run.task.name} is meant to be trained on {fewest} or more.")
    lines(f"coverage: {remark}." for aspect in run.coverage() for remark in aspect.remarks)
    there = f"The data set is in {run.dataset}; look" if last.kept else "Look"
    line(f"{there} at {run.folder / 'review.html'}.")
    line(f"next: edit {run.folder / 'captions.csv'}, then type")
    line(f"  {run.command_to_apply}")
    line(f"or review in a browser: {run.command('review', '--serve')}")
    if last.kept:
        line(f"then train: {run.command('train')}")


def remarks(run: Run, last: StageResult) -> None:
    """What a person should know of their decisions, and of files that they changed and that were written anew.

    Args:
        last: the last stage's result.
    """
    lines(run.remarks())
    if last.worked and last.kept and (kept := last.facts.get("set aside")):
        line(f"Files of the data set had been changed by hand; before it was written anew they were copied to {kept}.")
    if last.worked and (kept := last.facts.get("grids set aside")):
        line(f"Grids had been changed by hand and are drawn again as the sources have them; copies are in {kept}.")


def packed(archive: Path, run: Run, service: str | None = None) -> None:
    """An archive, and what to type where it arrives, if it is not for a service that trains."""
    name, size = command([run.task.name]), f"{archive.stat().st_size / 1e6:,.0f} MB"
    if service:
        line(f"{archive} ({size}), to be uploaded to {service}")
        return
    line(f"{archive} ({size}); on the other machine type")
    line(f"  {command(['tar', 'xf', archive.name])} && cd {name} && sha256sum -c --quiet SHA256SUMS && cat TRAINERS.md")


def configs(folder: Path, names: Sequence[str]) -> None:
    line(f"{counted(names, 'file')} written in {folder}: {', '.join(names)}")


# ---- many machines


def shards(task: str, found: Sequence[Shard]) -> None:
    """What each part of the sources has, and what to type on the machines and at the end."""
    for one in found:
        size = f"about {one.size / 1e6:,.1f} MB, " if one.size > one.items else ""
        line(f"{one.part}: {counted(one.items, 'item')}, {size}{one.part.first} to {one.last}")
    home = command([str(found[0].folder.parent)])
    line(f"next: for N from 1 to {len(found)}, each on a machine of its own (docs/many-machines.md), type")
    line(f"  {command(['iclora', 'dataset', task, '--out'])} {home}/N")
    line("then")
    line(f"  {command(['iclora', 'merge', task])} {home}/*")


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


# ---- training


def plan(training: Training, gpu: float | None = None) -> None:
    """What a training will see and need, and what it would be refused for.

    Args:
        gpu: GiB of another GPU than the one at hand.
    """
    lines(training.lines(gpu))
    if missing := training.missing(gpu):
        line(f"warning: {missing}")
    line(f"What the model will see: {training.sheet()}")


def trained(outcome: Outcome, job: Job) -> None:
    """What a training came to, and where to look."""
    speed = f", {outcome.seconds / outcome.took:.2f} s per step" if outcome.took else ", nothing to do"
    held_out = "" if outcome.held_out is None else f", held-out loss {outcome.held_out:.4f}"
    line(f"trained: {counted(outcome.step, 'step')}{speed}{held_out}")
    lines(_which_step(outcome, job.config.best_by))
    line(f"The LoRA is {outcome.file}; the losses are in {job.folder / 'loss.png'}.")
    if (picture := job.folder / "base-and-lora.png").exists():
        line(f"What it has learnt, beside the base alone: {picture}")


def to_evaluate(run: Run) -> None:
    """What to type after a training of the run's LoRA."""
    line(f"next, compare it with its base: {run.command('evaluate')}")


def evaluated(run: Run, evaluation: Evaluation) -> None:
    """What an evaluation found, and what to type if the run's LoRA is better than the base."""
    lines(evaluation.lines())
    line(f"pictures side by side, worst first: {evaluation.folder / 'evaluation.html'}")
    if evaluation.file or evaluation.chosen == run.task.name:
        line(f"next, hand the LoRA over: {command(['iclora', 'handover', str(run.lora)])}")


def handed_over(done: Handover) -> None:
    """What lies in a hand-over folder, and what doesn't."""
    line(f"Handed over in {done.folder}: {', '.join(map(str, done.files))}.")
    lines(f"note: {remark}" for remark in done.remarks)


def _which_step(outcome: Outcome, best_by: Literal["loss", "score"]) -> Iterator[str]:
    """Which step's weights the LoRA has and why, and what to do where another step did better."""
    if outcome.own is not None:
        yield (
            f"The LoRA has the averaged weights of step {outcome.of_step}, as iclora evaluate chose; the training "
            f"ended with {outcome.own}."
        )
        return
    last = outcome.of_step == outcome.step
    best = "whose score was the best" if best_by == "score" else "whose held-out loss was the lowest"
    why = "the last" if last else f"{best} (train.patience)"
    yield f"The LoRA has the averaged weights of step {outcome.of_step}, {why}."
    if best_by == "score" and not last:
        return
    lowest = outcome.lowest
    if lowest is None or lowest.step == outcome.of_step or (lowest.step and not last):
        return
    told = f"The held-out loss was lowest at step {lowest.step}, {lowest.held_out:.4f}"
    if not lowest.step:
        yield (
            f"{told}, which is the base alone: on held-out grids the training made it worse; train for fewer steps, at "
            "a lower train.learning_rate, or on more grids."
        )
    elif lowest.file:
        yield f"{told}: {lowest.file} has the weights of that step; train.patience=3 hands over such a step."
    else:
        yield f"{told}, and that step was not saved; train.patience=3 hands over such a step."


# ---- tables


def counts(rows: Mapping[str, int]) -> None:
    lines(f"{name:<10} {count}" for name, count in rows.items())


def table(name: str, rows: list[dict[str, Any]], form: Literal["text", "csv", "json"]) -> None:
    """A table of a run; as text, wrapped to the terminal if there is one."""
    if form == "json":
        _print(tables.as_json(rows))
    elif form == "csv":
        _print(tables.as_csv(name, rows), end="")
    else:
        _print("\n".join(tables.as_text(name, rows, _width())))


def _print(content: str, end: str = "\n") -> None:
    """Whoever reads a table may have seen enough before its end."""
    try:
        print(content, end=end, flush=True)
    except BrokenPipeError:
        discard_output()


def tasks(known: Iterable[Task]) -> None:
    rows = []
    for task in known:
        layout = task.grid_layout
        width, height = layout.canvas
        about = f"{task.title}; {' '.join(task.markers)}"
        rows.append((task.name, f"{layout.rows} x {layout.cols}", f"{width}x{height}", about))
    _print("\n".join(tables.aligned(("task", "panels", "canvas", "what it is; markers"), rows, _width())))


def _width() -> int | None:
    """Columns of the terminal; None where there is none."""
    return console.width if console.is_terminal else None


def machine(found: Machine, *, as_json: bool) -> None:
    if as_json:
        text(json.dumps(found.to_json(), indent=2))
        return
    line(f"device      {found.device}, {counted(found.threads, 'thread')}")
    line(f"disk free   {found.disk_free:.0f} GiB")
    lines(f"{name:<22} {version}" for name, version in found.versions.items())
    for one in found.weights:
        here = f"{'' if one.here else 'not '}on this machine"
        line(f"{one.kind:<11} {one.repo}: {here}")
    lines(found.verdict())
