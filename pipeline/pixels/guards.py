"""Files that have been made to keep a decoder busy for hours or to fill the memory are refused before that."""

from __future__ import annotations

import struct
from io import BufferedReader
from typing import IO, Any

MOST_BESIDE = 1 << 26
"""Bytes before the pixels that are read; Pillow takes quadratic time to join the segments of a JPEG's EXIF."""
MOST_READS = 5_000_000
"""Pieces that a file is read in: a PNG of 120 megapixels has some 100,000, one that is all empty chunks 40 million."""
MOST_SCANS = 1_000
"""Of a progressive JPEG, each of which takes a pass over all pixels; usual are 10."""
MOST_STRIPS = 1 << 20
"""Of a TIFF; Pillow makes several objects for each."""
STRIPS = (273, 324)
"""TIFF's tags for the places of strips and tiles."""


class Watched:
    """A picture's file as Pillow reads it. Refuses to go on where a file has been made to keep a decoder busy."""

    def __init__(self, file: BufferedReader) -> None:
        self.file, self.reads = file, 0
        # WebP and AVIF are read at once, without a size; a layered TIFF or PSD has most of its bytes in its header.
        self.left: int | None = None if file.peek(4)[:4].startswith((b"II", b"MM", b"8BPS")) else MOST_BESIDE
        """Bytes that may still be read before the pixels; None once they are reached."""

    def read(self, size: int = -1) -> bytes:
        self.reads += 1
        if self.reads > MOST_READS:
            raise ValueError(f"it is in more than {MOST_READS:,} pieces")
        found = self.file.read(size)
        if self.left is not None and size >= 0:
            self.left -= len(found)
            if self.left < 0:
                raise ValueError(f"it has more than {MOST_BESIDE:,} bytes before its pixels")
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __repr__(self) -> str:
        """What Pillow calls it in messages."""
        return repr(str(self.file.name))


def check_scans(file: IO[bytes]) -> None:
    """
    Raises:
        ValueError: a progressive JPEG has too many scans.
    """
    place, scans = file.tell(), 0
    file.seek(0)
    while chunk := file.read(1 << 20):
        scans += chunk.count(b"\xff\xda")  # the start of a scan; among pixels a byte FF is always followed by 00
    file.seek(place)
    if scans > MOST_SCANS:
        raise ValueError(f"it has {scans:,} scans, more than {MOST_SCANS:,}")


def check_strips(file: BufferedReader) -> None:
    """
    Raises:
        ValueError: the file is a TIFF in too many strips or tiles.
    """
    head = file.read(16)
    order, big = {b"II": "<", b"MM": ">"}.get(head[:2]), b"+" in head[2:4]
    if order and len(head) == 16:  # noqa: PLR2004
        entry = struct.Struct(f"{order}HHQ8x" if big else f"{order}HHI4x")
        file.seek(*struct.unpack_from(f"{order}Q" if big else f"{order}I", head, 8 if big else 4))
        number = file.read(8 if big else 2)
        for _ in range(min(int.from_bytes(number, "little" if order == "<" else "big"), 1 << 16)):
            tag, _, count = entry.unpack(file.read(entry.size).ljust(entry.size, b"\0"))
            if tag in STRIPS and count > MOST_STRIPS:
                raise ValueError(f"it is in {count:,} strips, more than {MOST_STRIPS:,}")
    file.seek(0)
