"""What a command does, as JSON lines in a file for those who watch many jobs: `--log FILE`.

    {"time": "...", "event": "start", "command": "iclora dataset storyboard ...", "process": 71, "host": "n1", "job": "9_3"}
    {"time": "...", "event": "progress", "stage": "inspect", "done": 640, "of": 2000, "rate": 91.4, "failures": 3}
    {"time": "...", "event": "finish", "exit_code": 0, "seconds": 61.2}

docs/many-machines.md says what else there is. Every line is on the disk before the work goes on.
"""  # noqa: E501

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.errors import BadInput
from pipeline.store import Holder

INTERVAL = 5.0
"""The least seconds between two lines on the progress of one stage, but for its first and last."""
PATIENCE = 1.0
"""Seconds that a command which is being stopped waits for a line that is being written."""


class JobLog:
    """The log of one command; lines of earlier ones stay before it. May be used from several threads."""

    def __init__(self, file: Path, warn: Callable[[str], None], *, waits: bool = False) -> None:
        """Opens the file, and tells who starts.

        Args:
            waits: does so only when its folder is there, so that a command which is refused before leaves none behind.
            warn: told once if a line can't be written later on; the work is worth more than its log and goes on.

        Raises:
            BadInput: the file can't be written.
        """
        self.file, self._warn = file, warn
        self._writing, self._handle = threading.Lock(), -1
        self._began = time.monotonic()
        self._stage, self._first, self._since, self._spoken = "", 0, self._began, 0.0
        self._failures, self._note = 0, ""
        me = asdict(Holder.of_this_process())
        about = {"command": me["command"], "process": me["process"], "host": me["host"], "job": _job()}
        self._start = _line("start", about)
        self._waits = waits
        if waits:
            return
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._open()
        except OSError as error:
            raise BadInput(
                f"the log {file} can't be written ({error.strerror or error}); name another file with --log."
            ) from error
        self._add(self._start)

    def _open(self) -> None:
        self._waits = False
        self._handle = os.open(self.file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        self._end_a_cut_off_line()
        files.sync_names(self.file.parent)

    def _end_a_cut_off_line(self) -> None:
        """What was killed while it wrote must not take our first line along."""
        size = os.lseek(self._handle, 0, os.SEEK_END)
        if size:
            os.lseek(self._handle, size - 1, os.SEEK_SET)
            if os.read(self._handle, 1) != b"\n":
                os.write(self._handle, b"\n")

    def write(self, event: str, **values: Any) -> None:
        """Adds a line; nothing after the last one, `finish`."""
        self._add(_line(event, values), is_last=event == "finish")

    def _add(self, content: bytes, *, is_last: bool = False) -> None:
        if not self._writing.acquire(timeout=PATIENCE):
            return
        try:
            if self._waits and self.file.parent.is_dir():
                self._open()
                content = self._start + content
            if self._handle >= 0:
                os.write(self._handle, content)  # in one piece, so that lines of several jobs don't mix
                os.fsync(self._handle)
                if is_last:
                    self._close()
        except OSError as error:
            self._close()
            self._warn(f"the log {self.file} can't be written any more ({error.strerror or error}); the work goes on.")
        finally:
            self._writing.release()

    def _close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = -1

    def finish(self, code: int) -> None:
        """The last line."""
        self.write("finish", exit_code=code, seconds=round(time.monotonic() - self._began, 1))

    def report(self, stage: str, done: int, total: int, /) -> None:
        """A `Progress`: a line for the first and the last report of a stage, and one per `INTERVAL` between them."""
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._first, self._since = stage, done, now
            self._failures, self._note = 0, ""
        elif done < total and now - self._spoken < INTERVAL:
            return
        self._spoken = now
        rate = (done - self._first) / (now - self._since) if now > self._since else 0.0
        note = {"note": self._note} if self._note else {}
        counts = {"done": done, "of": total, "rate": float(f"{rate:.3g}"), "failures": self._failures}
        self.write("progress", stage=stage, **counts, **note)

    def note(self, text: str, failures: int | None) -> None:
        """How the work under way stands, for the next line on its progress."""
        self._note = text
        if failures is not None:
            self._failures = failures


def _line(event: str, values: Mapping[str, Any]) -> bytes:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    text = json.dumps({"time": now, "event": event, **values}, ensure_ascii=False)
    return f"{text}\n".encode(errors="backslashreplace")


def _job() -> str | None:
    """Slurm's number of the job, with the task's in an array; None elsewhere."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")
