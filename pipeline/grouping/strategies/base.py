"""What a grouping strategy is, and what strategies share."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from pipeline.grouping.vetoes import Veto, Vetoes
from pipeline.grouping.ways import Question
from pipeline.records import Record, Rejected
from pipeline.task import Task

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

WALKS = 512
"""Stretches of a source along which groups form at once, where few images are asked about at a time."""
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


Walk = Generator[Question, tuple[Record, ...] | Veto, list[Formed | Rejected]]
"""Goes along one stretch of a source: asks which of several groups may be formed, is told, and asks on; in the end it
has groups and rejections."""


@dataclass
class _UnderWay:
    walk: Walk
    asks: Question | None = None
    made: list[Formed | Rejected] = field(default_factory=list)

    def advance(self, answer: tuple[Record, ...] | Veto | None) -> None:
        try:
            self.asks = self.walk.send(answer)  # type: ignore[arg-type]  # None begins it
        except StopIteration as ended:
            self.asks, self.made = None, ended.value


def together(walks: Iterable[Walk], vetoes: Vetoes, at_once: int = WALKS) -> Iterator[Formed | Rejected]:
    """What some walks come to, one after the other; the questions of several that are under way are asked together.

    Args:
        at_once: how many are under way.
    """
    waiting, taken = iter(walks), deque[_UnderWay]()
    while True:
        asking = [one for one in taken if one.asks]
        begun = [_UnderWay(walk) for walk in itertools.islice(waiting, at_once - len(asking))]
        if not asking and not begun:
            return
        for one in begun:
            one.advance(None)
        taken.extend(begun)
        asking += [one for one in begun if one.asks]
        for one, answer in zip(asking, vetoes.each([one.asks for one in asking if one.asks]), strict=True):
            one.advance(answer)
        while taken and not taken[0].asks:
            yield from taken.popleft().made


def by_key(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """The items by their key, both in order of appearance."""
    found: dict[K, list[T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def sequence_of(record: Record) -> tuple[str, str]:
    """Folder and film that an image is from; within them `collect` keeps shots and files in order."""
    return record.position.folder, record.position.film
