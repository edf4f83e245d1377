"""PNG files of our own: RGB without metadata, written fast and checked to their last byte."""

from __future__ import annotations

import hashlib
import io
import struct
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import deflate
import numpy as np
from PIL import Image

from pipeline import files
from pipeline.pixels.opening import MOST_BYTES

SIGNATURE = b"\x89PNG\r\n\x1a\n"
EIGHT_BITS, RGB, AVERAGE = 8, 2, 3
"""PNG's codes (W3C PNG, third edition, 11.2.1 and 9.2)."""
LEVEL = 1
"""Of 12: the second makes files 2 % smaller in half as much time again."""
STRIP = 64
"""Rows that are filtered at once: few enough to stay in a core's cache, which takes half the time of all at once."""


def encode(image: Image.Image) -> bytes:
    """An RGB picture as a PNG file; the same picture gives the same bytes.

    With a single filter and libdeflate's lowest level, it takes a third of Pillow's time, and no more room (LOG.md).
    """
    packed = deflate.zlib_compress(_filtered(np.asarray(image)), LEVEL)
    header = struct.pack(">IIBBBBB", *image.size, EIGHT_BITS, RGB, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    return b"".join((SIGNATURE, *chain.from_iterable(_chunk(kind, content) for kind, content in chunks)))


def _filtered(pixels_HWC: np.ndarray) -> np.ndarray:
    """H x (1 + 3W): in each row the filter's code, then every byte less the average of those to its left and above."""
    height, width, _ = pixels_HWC.shape
    values = pixels_HWC.reshape(height, 3 * width)
    rows = np.empty((height, 1 + 3 * width), np.uint8)
    rows[:, 0] = AVERAGE
    for top in range(0, height, STRIP):
        strip = values[top : top + STRIP]
        left, above = np.zeros_like(strip), np.zeros_like(strip)
        left[:, 3:], above[1:] = strip[:, :-3], strip[:-1]
        if top:
            above[0] = values[top - 1]
        average = (left & above) + ((left ^ above) >> 1)  # whose sum has nine bits
        rows[top : top + STRIP, 1:] = strip - average
    return rows


def _chunk(kind: bytes, content: bytes | bytearray) -> tuple[bytes | bytearray, ...]:
    checksum = deflate.crc32(content, deflate.crc32(kind))
    return struct.pack(">I", len(content)), kind, content, struct.pack(">I", checksum)


class Checked(NamedTuple):
    """A whole picture, by its SHA-256 hashes."""

    file: str
    pixels: str
    """As `Grid.pixels`."""


def check(path: Path, size: tuple[int, int]) -> Checked | None:
    """Reads a picture once, and decodes it.

    Args:
        size: width and height in pixels.

    Returns:
        None if it is not an RGB picture of this size in a PNG file with the right checksums.
    """
    try:
        content = files.read(path, MOST_BYTES)
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            image.verify()  # the checksums, which decoding passes over
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            if image.size != size or image.mode != "RGB":
                return None
            pixels = hashlib.sha256(image.tobytes()).hexdigest()
    except Exception:  # decoders may raise anything on corrupt data
        return None
    return Checked(hashlib.sha256(content).hexdigest(), pixels)
