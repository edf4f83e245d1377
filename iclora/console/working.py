"""What is shown and logged while a command works: bars or lines, and each stage's result as soon as it is there."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Literal

from iclora.console import output
from iclora.console.output import aside, error, line, lines, refusal
from iclora.console.underway import Bars, Lines, Listener
from iclora.job_log import JobLog
from pipeline.errors import ToolkitError
from pipeline.progress import LOG

if TYPE_CHECKING:
    from pathlib import Path

    from iclora.advancing import StageResult
    from pipeline.progress import Progress


@contextmanager
def progress(*, before_data: bool = False) -> Iterator[Progress]:
    """Shows what is under way and what is waited for: bars on a terminal, elsewhere lines; nothing with --quiet.

    Args:
        before_data: what is printed afterwards may be read by another program; lines go to standard error.
    """
    say = aside if before_data else line
    shown = None if _volume == "quiet" else Bars(output.console) if output.console.is_terminal else Lines(say)
    listener = Listener(shown, tuple(_logs), say if _volume == "verbose" else None)
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
    elif not output.console.is_terminal:
        counts = f"{result.entered} in, {result.kept} kept, {result.entered - result.kept} rejected"
        line(f"{result.name}: {counts}, {result.seconds:.1f} s")
    lines(f"note: {remark}" for remark in result.facts.get("remarks", ()))
