"""Which frame stands for a shot: a sharp one among those that are undamaged, uncombed and like their neighbours."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from pipeline.films import colour
from pipeline.films.colour import Orientation, Tags
from pipeline.films.cuts import Cut
from pipeline.films.decoding import State

EDGE = 0.25
"""Seconds at either end of a shot from which no frame is taken: dissolves and compression make them poor."""
MOST_HELD = 1 << 29
"""Bytes of frames that wait to be told which shot they are in; above, only the better of two neighbours is kept."""
CANDIDATES, SPACING = 5, 0.25
"""Frames of a shot that are kept to choose from, and the seconds that they are apart at first: twice as many whenever
there are too many of them."""
COMBED = 0.005
"""Share of a frame's pixels, from which on it is combed: two moments that are interleaved."""
COLUMNS = 64
"""Columns of a frame in which combs are looked for."""
OUTLIER, FACTOR = 10.0, 3.0
"""A frame is an outlier if it differs from both its neighbours by so many levels, and by so many times as much as they
differ from each other: damage that no decoder has noticed, or a flash."""


@dataclass(frozen=True)
class Frame:
    """A frame that may stand for its shot."""

    frame: av.VideoFrame
    image: NDArray[np.uint8]
    """A small picture of it, BGR, as it lies."""
    time: float
    end: float
    state: State
    sharpness: float
    combed: bool
    outlier: bool
    tags: Tags
    orientation: Orientation
    stretch: float
    """Width of a pixel for a height of 1."""

    @property
    def middle(self) -> float:
        return (self.time + self.end) / 2

    @property
    def rank(self) -> tuple[int, bool, bool, float]:
        """Higher is better."""
        return self.state, not self.outlier, not self.combed, self.sharpness

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return sum(plane.buffer_size for plane in self.frame.planes) + self.image.nbytes

    def look(self) -> colour.Picture:
        """The small picture, upright; its pixels are as the film has them, not always square."""
        return self.orientation.apply(self.image)

    def picture(self, width: int | None = None, scaler: colour.Scaler | None = None) -> colour.Picture:
        """It as a BGR picture in sRGB, upright and with square pixels.

        Args:
            width: pixels at most, while it lies as in the film; as many as it has if None.
            scaler: one for several frames of a width, by area.
        """
        across, down = colour.stretched((self.frame.width, self.frame.height), self.stretch)
        if width is not None and width < across:
            across, down = width, max(1, round(down * width / across))
        scaler = scaler or colour.Scaler(Interpolation.BICUBIC if width is None else Interpolation.AREA)
        image = colour.picture(self.frame, self.tags, (across, down), scaler)
        if self.combed and width is None:  # every other line is of one moment
            image = np.asarray(cv2.resize(image[::2], (across, down), interpolation=cv2.INTER_CUBIC), np.uint8)
        return self.orientation.apply(image)


@dataclass(frozen=True)
class Shot:
    """A shot and the frames that may stand for it."""

    number: int
    start: float
    end: float
    candidates: tuple[Frame, ...]
    """In order of time; none where the shot is all edge."""
    broken: bool = False
    """Whether there would be candidates if they weren't broken."""


class Chooser:
    """Takes frames and cuts in order, and gives the shots.

    Args:
        watch: called with every frame that is known to be in a shot, and the number of that shot.
    """

    def __init__(self, watch: Callable[[int, Frame], None] | None = None) -> None:
        self._watch = watch
        self._waiting: deque[Frame] = deque()
        self._number, self._start, self._end = 0, 0.0, 0.0
        self._shelf = _Shelf()

    def add(self, frame: Frame) -> None:
        self._waiting.append(frame)
        self._end = frame.end
        if len(self._waiting) * frame.size > MOST_HELD:
            pairs = zip(*[iter(self._waiting)] * 2, strict=False)
            left = [self._waiting[-1]] if len(self._waiting) % 2 else []
            self._waiting = deque([*(max(pair, key=_rank) for pair in pairs), *left])

    def cut(self, cut: Cut) -> Shot:
        """Ends a shot."""
        self._settle(cut.before - EDGE)
        ended = self._ended(cut.before)
        while self._waiting and self._waiting[0].middle < cut.after + EDGE - 1e-6:
            self._waiting.popleft()
        self._number, self._start, self._shelf = self._number + 1, cut.after, _Shelf()
        return ended

    def settle(self, time: float) -> None:
        """No cut comes before this time any more."""
        self._settle(time - EDGE)

    def end(self) -> Shot:
        """The shot that the film ends with."""
        self._settle(self._end - EDGE)
        return self._ended(self._end)

    def _settle(self, until: float) -> None:
        while self._waiting and self._waiting[0].middle <= until + 1e-6:
            frame = self._waiting.popleft()
            if frame.middle >= self._start + EDGE - 1e-6:
                self._shelf.add(frame)
                if self._watch is not None:
                    self._watch(self._number, frame)

    def _ended(self, end: float) -> Shot:
        found = self._shelf.frames()
        sound = tuple(frame for frame in found if frame.state > State.BROKEN)
        return Shot(self._number, self._start, end, sound, broken=bool(found) and not sound)


class _Shelf:
    """The best frames of a shot, some time apart; among them is the best of all."""

    def __init__(self) -> None:
        self._best: dict[int, Frame] = {}
        self._spacing = SPACING

    def add(self, frame: Frame) -> None:
        self._put(frame)
        while len(self._best) > CANDIDATES:
            self._spacing *= 2
            kept, self._best = list(self._best.values()), {}
            for one in kept:
                self._put(one)

    def _put(self, frame: Frame) -> None:
        place = int(frame.time // self._spacing)
        if place not in self._best or _rank(frame) > _rank(self._best[place]):
            self._best[place] = frame

    def frames(self) -> list[Frame]:
        return sorted(self._best.values(), key=lambda frame: frame.time)


def _rank(frame: Frame) -> tuple[int, bool, bool, float]:
    return frame.rank


# ---- measures


def is_outlier(before: NDArray[np.uint8], image: NDArray[np.uint8], after: NDArray[np.uint8]) -> bool:
    """Whether a picture differs from both its neighbours while they are alike."""
    least = _distance(image, after)
    if least > OUTLIER:  # seldom, so that most pictures are compared once
        least = min(least, _distance(before, image))
    return least > OUTLIER and least > FACTOR * _distance(before, after)


def _distance(image: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Mean difference in levels."""
    return float(sum(cv2.mean(cv2.absdiff(image, other))[:3])) / 3


def lines(frame: av.VideoFrame) -> NDArray[np.int16] | None:
    """Brightness (0..255) in some columns of a frame, all rows; None for pixel formats without a plane for it."""
    name, plane = frame.format.name, frame.planes[0]
    if not name.startswith(("yuv4", "yuva4", "yuvj4", "nv12", "gray")) or name in ("yuv410p", "yuv411p"):
        return None
    deep = frame.format.components[0].bits
    kind = np.dtype(np.uint8) if deep == 8 else np.dtype("<u2" if name.endswith("le") else ">u2")  # noqa: PLR2004
    rows: NDArray[Any] = np.frombuffer(memoryview(plane), kind).reshape(-1, plane.line_size // kind.itemsize)
    chosen = rows[: frame.height, : frame.width : max(1, frame.width // COLUMNS)]
    if deep == 8:  # noqa: PLR2004
        return np.asarray(chosen, np.int16)
    return np.asarray(chosen.astype(np.int32) >> (deep - 8), np.int16)


def combing(now: NDArray[np.int16], before: NDArray[np.int16]) -> float:
    """Share of pixels where something has moved, and whose neighbours above and below are alike and unlike them.

    Args:
        now, before: `lines` of two frames that follow each other.
    """
    above, middle, below = now[:-2], now[1:-1], now[2:]
    alike = np.abs(above - below) < 12  # noqa: PLR2004
    unlike = np.abs(2 * middle - above - below) > 60  # noqa: PLR2004
    combs = np.flatnonzero(alike & unlike)  # few, as a rule
    moved = np.abs(middle.ravel()[combs] - before[1:-1].ravel()[combs]) > 10  # noqa: PLR2004
    return float(moved.sum() / middle.size)
