"""Pictures that come with reference images: together they are one ready-made set, the references first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline import families, files, pixels
from pipeline.errors import BadInput
from pipeline.records import Record, Rejected
from pipeline.sources.base import Item
from pipeline.sources.formats import format_of
from pipeline.task import Task

PRIORITY = 1  # after `grid`, which has the first letter: a whole grid contains its reference images


def claims(item: Item, head: bytes, task: Task, folder: Path) -> bool:
    return bool(item.references) and format_of(head, item.name).kind == "picture"


def read(item: Item, task: Task, folder: Path) -> Iterator[Record | Rejected]:
    """A record for each reference image and for the picture itself; our own data sets tell which panels they were."""
    of_set = item.facts.set or "/".join(item.source.rsplit("/", 2)[-2:])
    places = item.facts.places or range(len(item.references) + 1)
    for one, page in zip((*item.references, item), places, strict=False):
        path = one.file(folder, pixels.MOST_BYTES)
        try:
            digest = files.digest(folder / path, pixels.MOST_BYTES)
        except OSError as error:
            raise BadInput(f"{one.source} can't be read: {error.strerror or error}.") from error
        at = item.position(set=of_set, page=page, stem=one.stem, panel="", order=None)
        yield item.record(digest, path, at, text=families.bare(one.text))
