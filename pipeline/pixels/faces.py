"""Faces, found by scikit-image with the cascade of block patterns that it ships: upright ones, from the front.

Liao, Zhu, Lei, Zhang and Li, "Learning multi-scale block local binary patterns for face recognition", ICB 2007.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import Any

import numpy as np

EXTRA, MODULE = "faces", "skimage"
SIDE = 288
"""Pixels of the long side that faces are looked for at: those of a twelfth of it are still found."""
SMALLEST = 24
"""Side of the smallest face that the cascade knows, in pixels."""
STEP, STRIDE, AGREEING = 1.1, 2, 2
"""Growth of the window from one search to the next, its stride, and how many must agree. On 43 faces of dlib's
examples, most of them small, these find 29 with one false alarm; stride 1 finds 5 more in three times the time."""


def can_be_found() -> bool:
    """Whether the package is here that finds them."""
    return importlib.util.find_spec(MODULE) is not None


def find(grey: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Left, top, right and bottom of the faces, the largest first; none without the package.

    Args:
        grey: rows x columns, uint8, SIDE at its long side.
    """
    if not can_be_found() or min(grey.shape) <= SMALLEST:
        return []
    found = _cascade().detect_multi_scale(
        grey, STEP, STRIDE, (SMALLEST,) * 2, (min(grey.shape),) * 2, min_neighbor_number=AGREEING
    )
    boxes = [(one["c"], one["r"], one["c"] + one["width"], one["r"] + one["height"]) for one in found]
    return sorted(boxes, key=lambda box: (box[0] - box[2], box))


@cache
def _cascade() -> Any:
    from skimage import data
    from skimage.feature import Cascade

    return Cascade(data.lbp_frontal_face_cascade_filename())  # type: ignore[no-untyped-call]
