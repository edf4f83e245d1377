"""How long-running work reports its progress: one protocol for stages, encoding and training, and a log of what it
waits for."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

T = TypeVar("T")

LOG = logging.getLogger("iclora")
"""What takes long and has no count, such as loading a model, at level INFO as it begins; how the work under way stands,
such as the loss of the last steps, at level DEBUG, where a stage's records have `failures`, the number of its inputs
that were rejected so far, and a download's have `download`. The commands print it; other programs may listen to it."""


TENTHS = 10
"""How often `told` says how far something has come."""


def told(parts: Iterable[T], count: int, what: str) -> Iterator[T]:
    """The same parts. Says in the log what is done with them, and every tenth how far that has come; for work within a
    stage, whose own count stands still meanwhile. Of a single part nothing is said.

    Args:
        count: how many parts there are.
        what: as in "looking at pictures".
    """
    if count > 1:
        LOG.info(what)
    for done, part in enumerate(parts, start=1):
        yield part
        if done < count and done * TENTHS // count > (done - 1) * TENTHS // count:
            LOG.info("%s, %d %% done", what, 100 * done // count)


@dataclass(frozen=True)
class Download:
    """How a download of several files stands."""

    what: str
    """In words for a person, as in "the captioner NAME"."""
    file: int
    """The one that is under way, counted from 1."""
    files: int
    done: int
    """Bytes of all files that are on this machine."""
    total: int
    """Bytes of all files."""

    def __str__(self) -> str:
        return f"file {self.file} of {self.files}, {_size(self.done, self.total)} of {_size(self.total)}"


def _size(count: int, of: int | None = None) -> str:
    """`3.4 GB`, `12 MB`, or only the number in the unit of `of`."""
    unit, name = (1e9, "GB") if (of or count) >= 1e9 else (1e6, "MB")  # noqa: PLR2004
    number = f"{count / unit:.1f}"
    return number if of else f"{number} {name}"


class Progress(Protocol):
    """Called whenever some work is done, as in `progress("caption", 16, 80)`."""

    def __call__(self, stage: str, done: int, total: int, /) -> None:
        """
        Args:
            stage: what is being worked on: a stage's name, or a step of training such as "training".
            done: how many of its inputs or steps are finished.
            total: how many there are.
        """


def silent(stage: str, done: int, total: int, /) -> None:
    """Reports nothing."""
