"""`status.json`: what a training is and how it stands, for those who look at its folder from outside.

Written when a training begins, when its first step does, and when it ends, in whatever way.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

from pipeline import files
from pipeline.errors import ToolkitError
from pipeline.store import Holder

FILE = "status.json"
MOST = 1_000_000
"""Bytes that such a file may have."""

Stands = Literal["running", "ended", "interrupted", "failed"]


@dataclass(frozen=True)
class Status:
    """What a training is and how it stands."""

    task: str
    title: str
    """The task's."""
    base: str
    grids: int
    """That are trained on."""
    held_out: int
    steps: int
    """In all."""
    stands: Stands = "running"
    message: str = ""
    """Of a training that failed: why, and the way on."""
    from_step: int | None = None
    """Steps that were done before this call's first one; None before that."""
    process: int = 0
    host: str = ""

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """That of a training's folder; None if there is none, or if it can't be read."""
        try:
            content: dict[str, Any] = json.loads(files.read(folder / FILE, MOST))
            return cls(**content)
        except (OSError, ValueError, TypeError):
            return None

    @property
    def is_orphaned(self) -> bool:
        """Whether it says that its process is at work, and that is known to be gone."""
        return self.stands == "running" and Holder(self.process, self.host, "", "").is_dead

    @property
    def is_elsewhere(self) -> bool:
        """Whether it is of another machine, of whose processes nothing is known here."""
        return self.host != socket.gethostname()


class Standing:
    """The status of the training under way, on disk."""

    def __init__(self, folder: Path, status: Status) -> None:
        me = Holder.of_this_process()
        self._folder = folder
        self._status = replace(status, process=me.process, host=me.host)
        self._write()

    def begin(self, step: int) -> None:
        """Says that the steps begin.

        Args:
            step: how many are done already.
        """
        self._status = replace(self._status, from_step=step)
        self._write()

    def end(self, stands: Stands, message: str = "") -> None:
        self._status = replace(self._status, stands=stands, message=message)
        self._write()

    def _write(self) -> None:
        content = json.dumps(asdict(self._status), ensure_ascii=False, indent=2)
        with suppress(OSError):  # it only tells others; the checkpoint is what a training needs
            files.write(self._folder / FILE, f"{content}\n".encode("utf-8", "backslashreplace"))


@contextmanager
def kept(folder: Path, status: Status) -> Iterator[Standing]:
    """Keeps the status of a training from its beginning to its end."""
    standing = Standing(folder, status)
    try:
        yield standing
    except Exception as error:
        known = isinstance(error, ToolkitError | OSError)
        standing.end("failed", str(error) if known else f"{type(error).__name__}: {error}")
        raise
    except BaseException:  # Ctrl-C
        standing.end("interrupted")
        raise
    else:
        standing.end("ended")
