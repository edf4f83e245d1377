"""What a grouping strategy is, and what strategies share."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from pipeline.grouping.vetoes import Vetoes
from pipeline.records import Record, Rejected
from pipeline.task import Task

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

ORDER = "order not told"
"""Reason of the rejection of pictures of which somebody has to say which is for which panel."""


@dataclass(frozen=True)
class Formed:
    """Images that belong together, in panel order, and why."""

    records: tuple[Record, ...]
    why: str
    """In words for a person, such as "named alike, 7"."""


class Strategy(Protocol):
    """A strategy module. It reads where in the source an image stood, never its pixels.

    It may also have `remarks(records, task) -> list[str]`: what a person should know before anything is captioned of
    how it read the source, a sentence each; and `sets(records, task) -> dict[str, str]`: by the ids of images, the sets
    that alone can become groups, where the source tells them.
    """

    COPIES: bool
    """Whether near-copies may be in one group (an edit may change little); otherwise only the largest takes part."""

    def form(self, records: Sequence[Record], task: Task, vetoes: Vetoes) -> Iterator[Formed | Rejected]:
        """Groups of as many images as the task has panels; every record is in exactly one or is rejected.

        It is called twice: before anything is known about strangers, then with their veto.

        Args:
            records: in the order of their sources, without ready-made sets, which the strategy `sets` takes first.
        """


def by_key(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """The items by their key, both in order of appearance."""
    found: dict[K, list[T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def sequence_of(record: Record) -> tuple[str, str]:
    """Folder and film that an image is from; within them `collect` keeps shots and files in order."""
    return record.position.folder, record.position.film
