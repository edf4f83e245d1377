"""PNG files of our own: RGB without metadata, written fast and checked to their last byte."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from pipeline import files
from pipeline.pixels.opening import MOST_BYTES

FAST = (
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG),
)
"""Photographs have no repetitions that a search would find: without one, and with a single filter, they are written in
a third of the time and read in half, in files of the same size. Flat drawings take more, but little."""


def encode(image: Image.Image) -> bytes:
    """An RGB picture as a PNG file; the same picture gives the same bytes."""
    _, content = cv2.imencode(".png", cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2BGR), FAST)
    return content.tobytes()


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
