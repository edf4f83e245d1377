"""Panels as the JPEGs that a captioner is sent: made while their pixels are in memory, kept until they are described.

Opening a grid's picture again takes several times as long as all that a request needs besides.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, overload

from pipeline import pixels
from pipeline.cache import Cache, key_of
from pipeline.records import Grid

if TYPE_CHECKING:
    from PIL import Image

Look = tuple[tuple[int, int], str]
"""Width and height of a panel, and the SHA-256 of its pixels."""


@dataclass(frozen=True)
class Form:
    """How a captioner is sent each panel."""

    most: int
    """Pixels; a panel with more is scaled down."""
    quality: int
    """Of the JPEG, 1 to 100."""

    def encode(self, image: Image.Image) -> bytes:
        shrink = (self.most / (image.width * image.height)) ** 0.5
        if shrink < 1:
            image = image.resize((max(1, int(image.width * shrink)), max(1, int(image.height * shrink))))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=self.quality)
        return buffer.getvalue()


@dataclass(frozen=True)
class Jpegs:
    """A grid's panels in reading order."""

    form: Form
    looks: tuple[Look, ...]
    """Of the panels that the JPEGs were made of."""
    files: tuple[bytes, ...]


def look(panel: Image.Image) -> Look:
    return panel.size, hashlib.sha256(panel.tobytes()).hexdigest()


@dataclass(frozen=True)
class Ready:
    """Grids whose panels are ready to be sent in one form."""

    cache: Cache
    form: Form

    def keep(self, grid: Grid, picture: Image.Image) -> None:
        """
        Args:
            picture: the grid's, whose `pixels` it has.

        Raises:
            BadInput: the cache can't be written to.
        """
        panels = pixels.cut(picture, grid.layout)
        files = [self.form.encode(panel) for panel in panels]
        head = {"looks": [look(panel) for panel in panels], "bytes": [len(file) for file in files]}
        self.cache.put_pictures(self._key(grid), b"".join([json.dumps(head).encode(), b"\n", *files]))

    def find(self, grid: Grid) -> Jpegs | None:
        """What was kept of a grid; None if nothing was, or if its picture was drawn before its pixels had a hash."""
        content = self.cache.get_pictures(self._key(grid)) if grid.pixels else None
        if content is None:
            return None
        start = content.index(b"\n") + 1
        head, files = json.loads(content[:start]), []
        for length in head["bytes"]:
            files.append(content[start : start + length])
            start += length
        return Jpegs(
            self.form, tuple(((width, height), hash_) for (width, height), hash_ in head["looks"]), tuple(files)
        )

    def drop(self, grid: Grid) -> None:
        self.cache.drop_pictures(self._key(grid))

    def _key(self, grid: Grid) -> str:
        return key_of(pixels=grid.pixels, boxes=grid.layout.boxes, most=self.form.most, quality=self.form.quality)


class Unopened(Sequence["Image.Image"]):
    """Panels that are opened when somebody looks at one."""

    def __init__(self, open_: Callable[[], Sequence[Image.Image]], count: int) -> None:
        self._open, self._count = open_, count

    @cached_property
    def _panels(self) -> Sequence[Image.Image]:
        return self._open()

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> Image.Image: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Image.Image]: ...
    def __getitem__(self, place: int | slice) -> Image.Image | Sequence[Image.Image]:
        return self._panels[place]

    def __iter__(self) -> Iterator[Image.Image]:
        return iter(self._panels)
