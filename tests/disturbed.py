"""Runs that are killed at a given moment, or on a disk that is full: each in a process of its own.

The processes are forked from one that has imported everything, since importing takes longer than the whole run. A
moment is any access to the run's files: every file opened, renamed or removed, every write that is made durable, and
every statement of SQLite's.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bitmaps

ROOT = Path(__file__).parents[1]
CAPTIONER = ROOT / "tests" / "toys" / "captioners" / "by_picture.py"
ALL = sys.maxsize
"""The moment that never comes."""


@dataclass(frozen=True)
class Ended:
    """How a run ended."""

    killed: bool
    error: str
    """The error's message, if one of the toolkit's or the disk's ended it."""
    moments: list[str]
    """What the run was doing at each of its moments: a stage, or `decide`."""


def open_run(films: Path, folder: Path) -> Any:
    import iclora

    return iclora.open_run(
        "storyboard", films, settings=bitmaps.SMALL, captioner=str(CAPTIONER), scorer="none", folder=folder
    )


class Runner:
    """Starts runs, one after the other."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def run(self, films: Path, folder: Path, table: Path | None = None, *, until: int = ALL, most: int = 0) -> Ended:
        """All stages, and the decisions of a table with what follows from them.

        Args:
            until: the moment at which it is killed.
            most: bytes that a file may have; 0 for any number.
        """
        asked = {"films": str(films), "folder": str(folder), "table": str(table or ""), "until": until, "most": most}
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        return Ended(**json.loads(self.process.stdout.readline()))


@contextmanager
def runner() -> Iterator[Runner]:
    one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    command = [sys.executable, __file__]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | one
    ) as process:
        try:
            yield Runner(process)
        finally:
            process.kill()


# ---- in the processes


def serve() -> None:
    """Answers a line with a line, until there is none."""
    import iclora.run
    from pipeline import exporters, plugins
    from pipeline.sources import containers, readers

    for package in (exporters, containers, readers):
        plugins.usable(package)
    assert iclora.run
    for line in sys.stdin:
        print(json.dumps(_forked(json.loads(line))), flush=True)


def _forked(asked: dict[str, Any]) -> dict[str, Any]:
    seen, told = os.pipe()
    child = os.fork()
    if not child:
        os.close(seen)
        error = _work(asked, told)
        os.write(told, f"!{error}".encode())
        os._exit(0)
    os.close(told)
    with os.fdopen(seen, encoding="utf-8") as file:
        report = file.read()
    _, status = os.waitpid(child, 0)
    moments, _, error = report.partition("!")
    return {"killed": os.WIFSIGNALED(status), "error": error, "moments": moments.split()}


def _work(asked: dict[str, Any], told: int) -> str:
    """The run, with every moment told; gives the message of the error that ended it."""
    from pipeline.errors import ToolkitError

    films, folder = Path(asked["films"]), Path(asked["folder"])
    _watch(folder, told, asked["until"])
    if asked["most"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (asked["most"], resource.RLIM_INFINITY))
    try:
        with open_run(films, folder) as run:
            run.advance()
            if asked["table"]:
                run.apply(asked["table"])
                run.advance(start="filter")
    except (ToolkitError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _watch(folder: Path, told: int, until: int) -> None:
    """Tells what the run is doing at every moment, and kills the process at one of them."""
    import sqlite3

    from pipeline.engines import base
    from pipeline.review import decisions

    doing, count = "begin", 0

    def moment(*_: object) -> None:
        nonlocal count
        os.write(told, f"{doing} ".encode())
        if count == until:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    def heard(event: str, given: tuple[Any, ...]) -> None:
        touches = event == "open" or event.startswith(("os.", "shutil."))
        if touches and any(str(folder) in str(each) for each in given):
            moment()

    def connect(*given: Any, **more: Any) -> sqlite3.Connection:
        opened = connected(*given, **more)
        opened.set_trace_callback(moment)
        return opened

    def fsync(file: int) -> None:
        moment()
        synced(file)
        moment()

    def run(stage: Any, *given: Any, **more: Any) -> Any:
        nonlocal doing
        doing = stage.name
        return stage_run(stage, *given, **more)

    @contextmanager
    def deciding(of: Path) -> Iterator[None]:
        nonlocal doing
        doing = "decide"
        with decided(of):
            yield

    connected, synced, stage_run, decided = sqlite3.connect, os.fsync, base.run, decisions.deciding
    sqlite3.connect, os.fsync, base.run, decisions.deciding = connect, fsync, run, deciding  # type: ignore[assignment]
    sys.addaudithook(heard)


if __name__ == "__main__":
    serve()
