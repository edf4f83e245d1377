"""Pictures without content: black, white or evenly coloured ones, gradients, noise, and test cards."""

from __future__ import annotations

from itertools import pairwise

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
BARS = {(1, 1, 0): "y", (0, 1, 1): "c", (0, 1, 0): "g", (1, 0, 1): "m", (1, 0, 0): "r", (0, 0, 1): "b"}
"""The colours of bars by which of red, green and blue is on."""
ORDERS = ("ycgmrb", "rgybmc")
"""Sequences of bars: by falling brightness (SMPTE ECR 1, EBU Tech 3325), and as ffmpeg's `testsrc` has them."""
LEAST_BAND = 0.08
"""Share of the height over which bars must stand; those of PM5544 cover a tenth."""


def blank(image: NDArray[np.uint8]) -> str:
    """Why a picture has no content: "black", "white", "flat" (an even colour, a gradient, noise) or "test card".

    Args:
        image: BGR, height x width x 3, of any size.

    Returns:
        An empty string if it has content. A dark picture has, as soon as anything in it stands out from its ground by
        STANDS_OUT levels: a candle at night, a figure in fog.
    """
    height, width = image.shape[:2]
    across = min(CELLS, width)
    down = min(max(1, round(height * across / width)), height, 4 * CELLS)
    cells = cv2.resize(image, (across, down), interpolation=cv2.INTER_AREA).astype(np.float32)
    if _is_even(cells):
        mean = float(cells.mean())
        return "black" if mean <= BLACK else "white" if mean >= WHITE else "flat"
    return "test card" if _has_bars(image) else ""


def _is_even(cells: NDArray[np.float32]) -> bool:
    left = cells - _ground(cells)
    spread = float(1.4826 * np.median(np.abs(left)))
    if float(np.abs(left).max()) > max(STANDS_OUT, STANDS_OUT * spread):
        return False
    return float(left.std()) < STRUCTURE or max(_neighbours(left, 0), _neighbours(left, 1)) < RELATED


def _ground(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """The smooth ground of a picture: for each channel the paraboloid that lies nearest to it."""
    height, width, _ = cells.shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1).reshape(-1, 6)
    weights = np.linalg.lstsq(terms, cells.reshape(-1, 3).astype(np.float64), rcond=None)[0]
    return (terms @ weights).reshape(cells.shape).astype(np.float32)


def _neighbours(left: NDArray[np.float32], axis: int) -> float:
    """Correlation of each cell with the next one along an axis."""
    if left.shape[axis] < 2:  # noqa: PLR2004
        return 0.0
    one, other = (np.delete(left, place, axis=axis) for place in (-1, 0))
    scale = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return float((one * other).sum()) / scale if scale else 0.0


def _has_bars(image: NDArray[np.uint8]) -> bool:
    """Whether a band of the picture consists of upright bars of the six pure colours, in the order of a test card."""
    small = cv2.resize(image, (256, 100), interpolation=cv2.INTER_AREA)
    rows = [found for row in small if (found := _order(row))]
    return len(rows) >= LEAST_BAND * len(small) and any(rows.count(order) > len(rows) / 2 for order in ORDERS)


def _order(row: NDArray[np.uint8]) -> str:
    """The sequence of pure colours along a row of pixels, if it is one of a test card and its bars are equally wide."""
    low, high = row.min(axis=1).astype(int), row.max(axis=1).astype(int)
    pure = high - low > 0.45 * high.max(initial=1)
    on = row[:, ::-1] > ((low + high) / 2)[:, None]
    letters = "".join(
        BARS.get((int(r), int(g), int(b)), " ") if is_pure else " "
        for (r, g, b), is_pure in zip(on.tolist(), pure.tolist(), strict=True)
    )
    runs = [(run[0], len(run)) for run in _runs(letters) if run[0] != " " and len(run) > 4]  # noqa: PLR2004
    text = "".join(letter for letter, _ in runs)
    for order in ORDERS:
        for spelt in (order, order[::-1]):
            at = text.find(spelt)
            widths = [width for _, width in runs[at : at + len(spelt)]]
            if at >= 0 and max(widths) < 2.5 * min(widths):
                return order
    return ""


def _runs(letters: str) -> list[str]:
    """Stretches of one letter."""
    cuts = [0, *(i for i in range(1, len(letters)) if letters[i] != letters[i - 1]), len(letters)]
    return [letters[a:b] for a, b in pairwise(cuts)]
