"""Burnt-in text: subtitles, channel logos and watermarks over a picture, and shots that are text and nothing else.

What is laid over a film holds still while the picture moves below it. So a shot's frames are compared: an edge counts as
laid over if it has the same place, direction and strength in several of them. Where the picture holds still as well,
that tells nothing, and only what looks and lies like a subtitle counts; a sign in a corner of a shot without any
movement can't be told from a logo by that shot alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.films.blanks import blank
from pipeline.plugins import extras

Method = Literal["plain", "rapidocr"]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Pixels = tuple[int, int, int, int]
"""Left, top, right, bottom."""

WIDTH = 640
"""Frames are looked at in this width at most."""


@dataclass(frozen=True)
class Overlay:
    """A rectangle that something laid over the picture lies in, as shares of the frame's width and height."""

    left: float
    top: float
    right: float
    bottom: float
    frames: tuple[int, ...] = ()
    """Which of the frames that were given show it, from 0."""


@dataclass(frozen=True)
class Lettering:
    """What was found in the frames of one shot."""

    overlays: tuple[Overlay, ...] = ()
    card: bool = False
    """Whether the shot is text on a plain ground: a title, an intertitle, credits."""

    def in_frame(self, number: int) -> tuple[Overlay, ...]:
        """The overlays in one of the frames that were given."""
        return tuple(overlay for overlay in self.overlays if number in overlay.frames)


def find(frames: Sequence[NDArray[np.uint8]], method: Method = "plain") -> Lettering:
    """Text and marks laid over a shot.

    Args:
        frames: three to five of one shot in order, BGR, of one size, 640 to 960 pixels wide; the further apart, the
            better a moving picture is told from what holds still.
        method: "rapidocr" detects text with a trained network, "plain" by the shape and alignment of letters.

    Raises:
        BadInput: the packages of the extra `rapidocr` are not installed.
    """
    return Lettering()


def crop(overlays: Sequence[Overlay], least: float) -> tuple[float, float, float, float] | None:
    """The largest rectangle of the frame that no overlay reaches into.

    Args:
        least: share of the frame that it must have, 0 to 1.

    Returns:
        Left, top, right and bottom as shares of the frame's width and height; None if none is so large.
    """
    xs = sorted({0.0, 1.0, *(min(max(x, 0.0), 1.0) for each in overlays for x in (each.left, each.right))})
    best, share = None, least
    for at, left in enumerate(xs):
        for right in xs[at + 1 :]:
            inside = sorted(
                (each.top, each.bottom) for each in overlays if each.left < right - 1e-9 and each.right > left + 1e-9
            )
            top = 0.0
            for start, end in [*inside, (1.0, 1.0)]:
                if (right - left) * (start - top) >= share and (best is None or (right - left) * (start - top) > share):
                    best, share = (left, top, right, start), (right - left) * (start - top)
                top = max(top, end)
    return best


@cache
def _detector() -> Any:
    """The trained detector, made once per process.

    Raises:
        BadInput: its packages are not installed.
    """
    extras.require("finding text with rapidocr", "rapidocr")
    from rapidocr import RapidOCR

    return RapidOCR(params={"Global.log_level": "critical", "EngineConfig.onnxruntime.intra_op_num_threads": 1})
