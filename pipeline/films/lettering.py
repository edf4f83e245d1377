"""Burnt-in text: subtitles, channel logos and watermarks over a picture, and shots that are text and nothing else.

What is laid over a film holds still while the picture moves below it, and comes and goes while the picture stays. So a
shot's frames are compared. Where text and picture both stay from the first frame to the last, only what lies and looks
like a subtitle counts: a sign in a corner of a motionless shot can't be told from a logo by that shot alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.films import strokes
from pipeline.films.blanks import averaged, is_even
from pipeline.films.strokes import Floats, Levels, Mask, Pixels
from pipeline.plugins import extras

Method = Literal["plain", "rapidocr"]

WIDTH = 640
"""Frames are looked at in this width at most."""
EDGE = 14.0
"""Levels per pixel from which a change of brightness is an edge."""
STRONG, FAINT = 40.0, 14.0
"""Levels by which strokes must stand out in two frames, and in all of a shot: a watermark lets the picture through."""
SAME = 0.55
"""Correlation of the strokes in a rectangle from which two frames show the same text there."""
REACH = (60, 12)
"""Pixels around a rectangle, across and down, in which its text is looked for, to tell whether it moves."""
SHORT = 2.0
"""Times its height that a text must be wide; shorter ones count only where subtitles lie."""
LONG = 3
"""Frames through which text must hold still to count anywhere in a moving picture."""
CENTRED, LOW, HIGH = 0.06, 0.68, 0.16
"""Where subtitles lie: how far their middle is from that of the frame; below and above which share of its height."""
LIGHT, BLACK = 180, 90
"""Levels that a subtitle's letters have at least, and its outlines at most."""
MOVING = 0.5
"""Share of a picture's edges that hold still, below which the picture moves."""
TALLEST = 0.25
"""Share of the frame's height that a line of text has at most."""
CARDS = 0.6
"""Share of a shot's frames that must be text on a plain ground, or plain, for the shot to be a card."""
PAD = 3
"""Pixels by which what is found is enlarged: outlines and shadows are fainter than letters."""


@dataclass(frozen=True)
class Overlay:
    """A rectangle that something laid over the picture lies in, as shares of the frame's width and height."""

    left: float
    top: float
    right: float
    bottom: float
    frames: tuple[int, ...] = ()
    """Which of the frames that were given show it, from 0."""

    @classmethod
    def around(cls, box: Pixels, size: tuple[int, int], pad: int, frames: Iterable[int] = ()) -> Overlay:
        """The overlay in a box of a frame of this width and height, with so many pixels around it."""
        (left, top, right, bottom), (width, height) = box, size
        return cls(
            max(0, left - pad) / width,
            max(0, top - pad) / height,
            min(width, right + pad) / width,
            min(height, bottom + pad) / height,
            tuple(sorted(frames)),
        )


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
    views = [_View(frame) for frame in frames]
    if not views:
        return Lettering()
    detected = [_detected(view) for view in views] if method == "rapidocr" else []
    if _is_card(views, detected or (view.lines() for view in views)):
        return Lettering(card=True)
    candidates = _still_lines(views) + _detected_still(views, detected)
    motion = _Motion(views)
    kept = _merged([each for each in candidates if _is_overlay(each, views, motion)])
    height, width = views[0].grey.shape
    return Lettering(tuple(Overlay.around(each.box, (width, height), PAD, each.frames) for each in kept))


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


class _View:
    """A frame at WIDTH, with what stands out in it."""

    def __init__(self, frame: NDArray[np.uint8]) -> None:
        scale = min(1.0, WIDTH / frame.shape[1])
        small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else frame
        self.image = np.asarray(small, np.uint8)
        self.grey = np.asarray(cv2.cvtColor(self.image, cv2.COLOR_BGR2GRAY), np.uint8)
        self.bright, self.dark = strokes.bright(self.grey), strokes.dark(self.grey)

    @cached_property
    def slope(self) -> tuple[Floats, Floats]:
        """As `strokes.slope` has it; few shots need it."""
        return strokes.slope(self.grey)

    def lines(self) -> list[Pixels]:
        return [box for part in (self.bright, self.dark) for box in strokes.lines(part, STRONG, self.grey)]

    @cached_property
    def strength(self) -> Floats:
        return np.hypot(*self.slope)


@dataclass(frozen=True)
class _Found:
    """Text that holds still."""

    box: Pixels
    frames: frozenset[int]
    sudden: bool
    """Whether it is missing before or after those frames, and not only moved."""


def _still_lines(views: Sequence[_View]) -> list[_Found]:
    """Lines of text that the whole shot shows at the same place, or two frames in succession."""
    numbers = range(len(views))
    runs = [(tuple(numbers), FAINT), *((pair, STRONG) for pair in pairwise(numbers))]
    found = []
    for run, least in runs:
        for part in ("bright", "dark"):
            held = np.min([getattr(views[number], part) for number in run], axis=0)
            for box in strokes.lines(held, least, views[run[0]].grey):
                found.append(_found(box, part, run[0], held > least, views))
    return [each for each in found if len(each.frames) > 1]


def _detected_still(views: Sequence[_View], texts: Sequence[list[Pixels]]) -> list[_Found]:
    """Detected texts that other frames show at the same place."""
    found = []
    for number, boxes in enumerate(texts):
        for box in boxes:
            left, top, right, bottom = box
            area = (slice(top, bottom), slice(left, right))
            part = max(("bright", "dark"), key=lambda each: float(getattr(views[number], each)[area].mean()))
            found.append(_found(box, part, number, getattr(views[number], part) > STRONG, views))
    return [each for each in found if len(each.frames) > 1]


def _found(box: Pixels, part: str, number: int, letters: Mask, views: Sequence[_View]) -> _Found:
    """A text of one frame, with the frames that show its letters at the same place, and whether it comes or goes."""
    left, top, right, bottom = box
    near = cv2.dilate(letters[top:bottom, left:right].astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    text = np.where(near, getattr(views[number], part)[top:bottom, left:right], 0).astype(np.float32)
    places = [_place(text, getattr(view, part), box) for view in views]
    frames = frozenset(other for other, place in enumerate(places) if place == (0, 0)) | {number}
    beside = [other for other in range(len(views)) if other not in frames and {other - 1, other + 1} & frames]
    gone = [places[other] is None for other in beside]
    return _Found(box, frames, bool(gone) and all(gone))


def _place(text: Floats, strokes_: Levels, box: Pixels) -> tuple[int, int] | None:
    """By how much strokes are moved in another frame, to the right and down; None if they are not there."""
    left, top, right, bottom = box
    height, width = strokes_.shape
    across, down = REACH
    x, y = max(0, left - across), max(0, top - down)
    area = strokes_[y : min(height, bottom + down), x : min(width, right + across)]
    fits = cv2.matchTemplate(area.astype(np.float32), np.ascontiguousarray(text), cv2.TM_CCOEFF_NORMED)
    _, best, _, (to_right, downwards) = cv2.minMaxLoc(fits)
    return (to_right - (left - x), downwards - (top - y)) if best >= SAME else None


def _merged(found: Sequence[_Found]) -> list[_Found]:
    """Each text once: of rectangles that overlap the largest, with the frames of all."""
    kept: list[_Found] = []
    for each in sorted(found, key=lambda one: -(one.box[2] - one.box[0]) * (one.box[3] - one.box[1])):
        for place, other in enumerate(kept):
            if _overlap(each.box, other.box) > 0.5 and each.frames & other.frames:  # noqa: PLR2004
                kept[place] = _Found(other.box, other.frames | each.frames, other.sudden or each.sudden)
                break
        else:
            kept.append(each)
    return kept


def _overlap(box: Pixels, other: Pixels) -> float:
    """Share of the first box that lies in the other."""
    across = min(box[2], other[2]) - max(box[0], other[0])
    down = min(box[3], other[3]) - max(box[1], other[1])
    return max(0, across) * max(0, down) / ((box[2] - box[0]) * (box[3] - box[1]))


def _is_overlay(found: _Found, views: Sequence[_View], motion: _Motion) -> bool:
    """Whether what holds still is laid over the picture and no part of it."""
    left, top, right, bottom = found.box
    height, width = views[0].grey.shape
    if min(left, top, width - right, height - bottom) < 2:  # noqa: PLR2004
        return False  # cut off by the frame, as nothing is that was laid over it
    moving, short = motion.stillness(found.frames, found.box) < MOVING, right - left <= SHORT * (bottom - top)
    if len(found.frames) >= LONG and moving and not short:
        return True
    if abs((left + right) / 2 / width - 0.5) > CENTRED or (HIGH * height <= bottom and top <= LOW * height):
        return False
    return ((moving or found.sudden) and not short) or _has_contrast(found.box, views[min(found.frames)])


class _Motion:
    """Which of a shot's edges hold still over some of its frames: worked out once for all texts of the same frames."""

    def __init__(self, views: Sequence[_View]) -> None:
        self._views = views
        self._edges: dict[frozenset[int], tuple[Mask, Mask]] = {}

    def stillness(self, frames: frozenset[int], box: Pixels) -> float:
        """Share of the picture's edges, outside of a box, that hold still; 1 if there are none to tell by."""
        if frames not in self._edges:
            self._edges[frames] = self._find([self._views[number] for number in sorted(frames)])
        edges, still = self._edges[frames]
        left, top, right, bottom = box
        inside = (slice(max(0, top - PAD), bottom + PAD), slice(max(0, left - PAD), right + PAD))
        count, held = (np.count_nonzero(mask) - np.count_nonzero(mask[inside]) for mask in (edges, still))
        return held / count if count > edges.shape[1] else 1.0

    @staticmethod
    def _find(views: Sequence[_View]) -> tuple[Mask, Mask]:
        """All edges of these frames, and those among them that hold still."""
        across, along = (sum(slopes) for slopes in zip(*(view.slope for view in views), strict=True))
        length = np.maximum(np.hypot(across, along), 1e-6)
        held = np.min([(view.slope[0] * across + view.slope[1] * along) / length for view in views], axis=0)
        edges: Mask = (length / len(views) > EDGE / 2) & (np.max([view.strength for view in views], axis=0) > EDGE)
        return edges, edges & (held > EDGE / 2)


def _has_contrast(box: Pixels, view: _View) -> bool:
    """Whether a rectangle has the white or yellow and the black of outlined letters."""
    left, top, right, bottom = box
    grey = view.grey[top:bottom, left:right]
    return float(np.percentile(grey, 90)) >= LIGHT and float(np.percentile(grey, 8)) <= BLACK


# ---- text that is the picture


def _is_card(views: Sequence[_View], texts: Iterable[list[Pixels]]) -> bool:
    """Whether enough of the frames are text on a plain ground, or plain; stops once too few of them can be."""
    cards, others = 0, 0
    for view, boxes in zip(views, texts, strict=True):
        if boxes and _is_even_without(view, boxes):
            cards += 1
        elif boxes or not is_even(averaged(view.image)):
            others += 1
        if others > (1 - CARDS) * len(views):
            return False
    return cards > 0


def _is_even_without(view: _View, boxes: Sequence[Pixels]) -> bool:
    """Whether the frame is even but for its text, and for thin lines around it."""
    height, width = view.grey.shape
    hidden = np.zeros((height, width), np.uint8)
    for left, top, right, bottom in boxes:
        hidden[max(0, top - PAD) : bottom + PAD, max(0, left - PAD) : right + PAD] = 1
    size = (width // 2, height // 2)
    image = cv2.resize(view.image, size, interpolation=cv2.INTER_AREA)
    covered = cv2.resize(hidden, size, interpolation=cv2.INTER_NEAREST) > 0
    if covered.all():
        return True
    image[covered] = np.median(image[~covered], axis=0)
    return is_even(averaged(np.asarray(cv2.medianBlur(image, 5), np.uint8)))


# ---- rapidocr


def _detected(view: _View) -> list[Pixels]:
    """Rectangles of the texts that the trained detector finds in a frame."""
    boxes = _detector()(view.image, use_det=True, use_cls=False, use_rec=False).boxes
    height, width = view.grey.shape
    found = []
    for corners in [] if boxes is None else np.asarray(boxes):
        left, top = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0).tolist()
        right, bottom = np.ceil(corners.max(axis=0)).astype(int).tolist()
        right, bottom = min(right, width), min(bottom, height)
        if right - left > PAD and PAD < bottom - top <= TALLEST * height:  # it takes some whole frames for text
            found.append((left, top, right, bottom))
    return found


@cache
def _detector() -> Any:
    """The trained detector, made once per process.

    Raises:
        BadInput: its packages are not installed.
    """
    extras.require("finding text with rapidocr", "rapidocr")
    from rapidocr import RapidOCR

    return RapidOCR(
        params={
            "Global.log_level": "critical",
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "Det.limit_type": "max",  # by default small frames are enlarged until their short side has 736 pixels
            "Det.limit_side_len": WIDTH,
        }
    )
