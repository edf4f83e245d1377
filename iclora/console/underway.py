"""What is under way while a command works: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from pipeline.wording import escaped

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from iclora.job_log import JobLog
    from pipeline.progress import Download

SILENCE = 15.0
"""The most seconds without a line where there is no terminal."""
SOON = 2.0
"""Seconds after which it is said there what is waited for; most waits are over before."""
BAR = 16
"""Columns of a bar; what stands behind it has to fit 80."""
STARTING = "starting"
"""What is under way before anything has been reported."""


class Listener(logging.Handler):
    """Passes on what the log says: what is begun, and how the work under way stands."""

    def __init__(self, shown: Bars | Lines | None, logs: Sequence[JobLog], say: Callable[[str], None] | None) -> None:
        """
        Args:
            say: prints what is begun as a line at once, if given.
        """
        super().__init__()
        self.shown, self.logs, self.say = shown, logs, say

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        begins, download = record.levelno >= logging.INFO, getattr(record, "download", None)
        for log in self.logs:
            if download:
                log.note(f"file {download.file} of {download.files}", None)
                log.report("download", download.done, download.total)
            elif begins:
                log.write("wait", message=message)
            else:
                log.note(message, getattr(record, "failures", None))
        if begins and self.say:
            self.say(f"{clock()} {message}")
        if self.shown and download:
            self.shown.download(download)
        elif self.shown and begins:
            self.shown.wait(message, told=self.say is not None)
        elif self.shown:
            self.shown.note = message


class Bars:
    """A bar per stage."""

    def __init__(self, console: Console) -> None:
        from rich.progress import (
            BarColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.table import Column

        self.note = ""
        self._known: dict[str, TaskID] = {}
        self._begun: dict[str, tuple[int, float]] = {}
        self._bars = Progress(
            TextColumn("{task.description:<8}", markup=False),
            BarColumn(BAR),
            TextColumn("{task.fields[count]}", markup=False),
            TextColumn("{task.fields[pace]}", markup=False),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[note]}", markup=False, table_column=Column(overflow="fold")),
            console=console,
        )
        self._starting: TaskID | None = self._bars.add_task(STARTING, total=None, note="", pace="", count="")
        self._latest: TaskID = self._starting

    @contextmanager
    def drawn(self) -> Iterator[None]:
        with self._bars:
            try:
                yield
            finally:
                self._started()

    def _started(self) -> None:
        """Takes away the bar that stands for what comes before any stage."""
        if self._starting is not None:
            self._bars.remove_task(self._starting)
            self._starting = None

    def report(self, stage: str, done: int, total: int, /) -> None:
        self._started()
        if stage not in self._known:
            self.note = ""
        self._latest, worked, passed = self._bar(stage, done, total)
        self._bars.update(
            self._latest,
            completed=done,
            count=f"{done}/{total}",
            note=escaped(self.note),
            pace=pace(worked, passed),
        )

    def download(self, now: Download) -> None:
        """A bar of its own; the one above it says what is waited for."""
        bar, arrived, passed = self._bar(now.what, now.done, now.total, shown="download")
        self._bars.update(
            bar,
            completed=now.done,
            note=str(now),
            pace=speed(arrived, passed),
        )

    def _bar(self, key: str, done: int, total: int, *, shown: str = "") -> tuple[TaskID, int, float]:
        """The bar of some work, how much of it was done since it was begun, and for how many seconds."""
        if key not in self._known:
            name = escaped(shown or key)
            self._known[key] = self._bars.add_task(name, total=total, note="", pace="", count="")
            self._begun[key] = done, time.monotonic()
        first, began = self._begun[key]
        return self._known[key], done - first, time.monotonic() - began

    def wait(self, message: str, *, told: bool = False) -> None:
        """What is waited for, told or not, stands behind the bar until there is progress."""
        self._bars.update(self._latest, note=escaped(message))


class Lines:
    """What is waited for, and every SILENCE seconds how the work stands; a thread of its own prints that."""

    spoken = 0.0
    """When the last line of any kind was printed."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """
        Args:
            say: prints a line.
        """
        self.note, self._say = "", say
        self._download: tuple[Download, int] | None = None
        self._stage, self._first, self._done, self._total = "", 0, 0, 0
        self._waiting, self._told, self._began = STARTING, True, time.monotonic()
        Lines.spoken = self._began

    @contextmanager
    def drawn(self) -> Iterator[None]:
        over = threading.Event()
        thread = threading.Thread(target=self._speak, args=(over,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def report(self, stage: str, done: int, total: int, /) -> None:
        if stage != self._stage:
            self.note = ""
        if stage != self._stage or self._waiting:  # a wait says nothing about how fast the stage is
            self._stage, self._first, self._began = stage, done, time.monotonic()
        self._waiting, self._done, self._total = "", done, total
        self._download = None

    def wait(self, message: str, *, told: bool = False) -> None:
        self._waiting, self._told, self._began = message, told, time.monotonic()
        self._download = None

    def download(self, now: Download) -> None:
        """How the download stands that is waited for."""
        self._download = now, self._download[1] if self._download else now.done

    def state(self) -> str:
        """What is under way, for how long, and about how much longer."""
        passed = time.monotonic() - self._began
        download = self._download  # another thread may take it away
        if self._waiting and download:
            return ", ".join([f"{self._waiting}: {download[0]}", *self._arriving(*download, passed)])
        if self._waiting:
            return f"{self._waiting}: {duration(passed)}"
        parts = [f"{self._stage}: {self._done} of {self._total}", *([self.note] if self.note else [])]
        if worked := self._done - self._first:
            parts.append(pace(worked, passed))
            parts.append(f"about {duration(passed / worked * (self._total - self._done))} left")
        else:
            parts.append(f"{duration(passed)} so far")
        return ", ".join(parts)

    @staticmethod
    def _arriving(now: Download, first: int, passed: float) -> Iterator[str]:
        """How fast a download is, and about how much longer it takes."""
        if (arrived := now.done - first) > 0:
            yield speed(arrived, passed)
            yield f"about {duration(passed / arrived * (now.total - now.done))} left"

    def _speak(self, over: threading.Event) -> None:
        while not over.wait(SOON / 4):
            self.speak()

    def speak(self) -> None:
        """Prints what there is to say by now."""
        now = time.monotonic()
        if self._waiting and not self._told and now - self._began > SOON:
            self._told = True
            self._say(f"{clock()} {self._waiting}")
        elif now - Lines.spoken > SILENCE:
            self._say(f"{clock()} {self.state()}")


def clock() -> str:
    """The time of day: in a job's output, it tells when the work stood so."""
    return datetime.now().strftime("%H:%M:%S")


def pace(done: int, seconds: float) -> str:
    """`12/s`, `1.7/s`, `6.0 s each`; empty where nothing is done yet."""
    if done <= 0 or seconds <= 0:
        return ""
    rate = done / seconds
    if rate < 1:
        return f"{1 / rate:.1f} s each"
    return f"{rate:.1f}/s" if rate < 10 else f"{rate:,.0f}/s"  # noqa: PLR2004


def speed(count: int, seconds: float) -> str:
    """`12.3 MB/s` for bytes; empty where none have arrived yet."""
    return f"{count / seconds / 1e6:.1f} MB/s" if count > 0 and seconds > 0 else ""


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3 h 20 min`."""
    minutes = round(seconds / 60)
    if seconds < 120:  # noqa: PLR2004
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"  # noqa: PLR2004
