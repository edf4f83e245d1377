"""Masks beside a data set: they say where a loss counts and are not pictures to train on; each is a rejected row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.records import Record, Rejected
from pipeline.sources.base import Item
from pipeline.sources.formats import format_of
from pipeline.task import Task

PRIORITY = 0


def claims(item: Item, head: bytes, task: Task, folder: Path) -> bool:
    return item.mask and format_of(head, item.name).kind == "picture"


def read(item: Item, task: Task, folder: Path) -> Iterator[Record | Rejected]:
    yield item.reject("mask", f"{item.source} is the mask of a picture, not a picture.")
