"""Pictures without content: black, white or evenly coloured ones, gradients, noise, and test cards."""

from __future__ import annotations

from functools import lru_cache, reduce

import cv2
import numpy as np
from numpy.typing import NDArray

CELLS = 64
"""The picture is judged at this width, at which noise and compression are averaged away and a small light is not."""
STANDS_OUT = 6.0
"""Levels of 255 by which something must differ from a smooth ground."""
STRUCTURE = 2.0
"""Standard deviation, in levels, of what a smooth ground leaves over in a picture of fog or of night."""
RELATED = 0.2
"""Correlation of neighbouring cells, above which their differences are a picture's and not noise."""
BLACK, WHITE = 40.0, 225.0
"""Mean levels up to which, and from which, an even picture is called black or white."""
BARS = " bgcrmy "
"""The colour of a bar, by the sum of what is on in it: 1 for blue, 2 for green, 4 for red."""
ORDERS = ("ycgmrb", "rgybmc")
"""Sequences of bars: by falling brightness (SMPTE ECR 1, EBU Tech 3325), and as ffmpeg's `testsrc` has them."""
ROWS, LEAST_BAND = 50, 0.08
"""Rows that are looked at, and the share of them that must show bars; those of PM5544 cover a tenth."""
PURE, THIN, UNEQUAL = 0.45, 4, 2.5
"""Saturation of a bar's colour, pixels of 256 that are no bar but an edge, and times that bars may differ in width."""


def blank(image: NDArray[np.uint8]) -> str:
    """Why a picture has no content: "black", "white", "flat" (an even colour, a gradient, noise) or "test card".

    Args:
        image: BGR, height x width x 3, of any size.

    Returns:
        An empty string if it has content. A dark picture has, as soon as anything in it stands out from its ground by
        STANDS_OUT levels: a candle at night, a figure in fog.
    """
    cells = averaged(image)
    if is_even(cells):
        mean = float(cells.mean())
        return "black" if mean <= BLACK else "white" if mean >= WHITE else "flat"
    return "test card" if _has_bars(image) else ""


def averaged(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The picture in cells, CELLS across."""
    height, width = image.shape[:2]
    across = min(CELLS, width)
    down = min(max(1, round(height * across / width)), height, 4 * CELLS)
    return cv2.resize(image, (across, down), interpolation=cv2.INTER_AREA).astype(np.float32)


def is_even(cells: NDArray[np.float32]) -> bool:
    """Whether the cells of a picture (height x width x 3) show an even colour, a gradient or noise."""
    left = cells - _ground(cells)
    spread = float(1.4826 * np.median(np.abs(left)))
    if float(np.abs(left).max()) > max(STANDS_OUT, STANDS_OUT * spread):
        return False
    return float(left.std()) < STRUCTURE or max(_neighbours(left, 0), _neighbours(left, 1)) < RELATED


def _ground(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """The smooth ground of a picture: for each channel the paraboloid that lies nearest to it."""
    terms, inverse = _paraboloids(*cells.shape[:2])
    weights = inverse @ cells.reshape(-1, 3).astype(np.float64)
    return (terms @ weights).reshape(cells.shape).astype(np.float32)


@lru_cache(16)
def _paraboloids(height: int, width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The terms of a paraboloid at each cell, and the matrix that gives their weights by least squares."""
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1).reshape(-1, 6)
    return terms, np.linalg.pinv(terms)


def _neighbours(left: NDArray[np.float32], axis: int) -> float:
    """Correlation of each cell with the next one along an axis."""
    if left.shape[axis] < 2:  # noqa: PLR2004
        return 0.0
    one, other = (np.delete(left, place, axis=axis) for place in (-1, 0))
    scale = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return float((one * other).sum()) / scale if scale else 0.0


def _has_bars(image: NDArray[np.uint8]) -> bool:
    """Whether a band of the picture consists of upright bars of the six pure colours, in the order of a test card."""
    small = cv2.resize(image, (256, ROWS), interpolation=cv2.INTER_AREA)
    channels = cv2.split(small.astype(np.int16))  # blue, green, red
    low, high = (reduce(limit, channels) for limit in (cv2.min, cv2.max))
    pure = high - low > PURE * np.maximum(high.max(axis=1, keepdims=True), 1)
    rows = pure.sum(axis=1) > THIN * len(ORDERS[0])
    if rows.sum() < LEAST_BAND * ROWS:  # nearly all pictures
        return False
    on = sum((2 * channel > low + high).astype(np.uint8) << bit for bit, channel in enumerate(channels))
    codes = np.where(pure, on, 0)[rows]
    kinds = sum((codes == code).any(axis=1).astype(np.int64) for code in range(len(BARS)))
    found = [_order(row) for row in codes[kinds > len(ORDERS[0])]]
    return any(found.count(order) >= LEAST_BAND * ROWS for order in ORDERS)


def _order(row: NDArray[np.int64]) -> str:
    """The sequence of pure colours along a row, if it is one of a test card and its bars are about equally wide."""
    starts = np.flatnonzero(np.diff(row, prepend=-1))
    widths = np.diff(starts, append=len(row))
    wide = [(BARS[code], int(width)) for code, width in zip(row[starts].tolist(), widths, strict=True) if width > THIN]
    bars = [(letter, width) for letter, width in wide if letter != " "]
    text = "".join(letter for letter, _ in bars)
    for order in ORDERS:
        for spelt in (order, order[::-1]):
            at = text.find(spelt)
            part = [width for _, width in bars[at : at + len(spelt)]]
            if at >= 0 and max(part) < UNEQUAL * min(part):
                return order
    return ""
