"""The shots of a film, each with the frames that may stand for it, in one decoding pass and bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline import files
from pipeline.films import choice, colour
from pipeline.films.choice import Chooser, Frame, Shot
from pipeline.films.colour import Orientation
from pipeline.films.cuts import Cutter, Method, Sample
from pipeline.films.decoding import HELD_BYTES, Film, Picture
from pipeline.pixels.edges import sharpness

DETECT_WIDTH = 256  # px; what PySceneDetect scales to by default
MEASURE_WIDTH = 512  # px; a frame that is out of focus by a few pixels looks sharp when it is smaller
STEP = 0.03
"""Seconds from a sample to the next at least: of films with 50 frames a second and more, not every one is looked at."""


@dataclass(frozen=True)
class _Sight:
    """A decoded picture that was looked at."""

    picture: Picture
    image: NDArray[np.uint8]
    small: NDArray[np.uint8]
    lines: NDArray[np.int16] | None
    lost: bool
    key: bool


class FilmReader:
    """Reads one film. `fault` and `damage` are complete once `shots` has ended.

    Args:
        method: how cuts are found.
        watch: called with every frame that is known to be in a shot, in order, and the number of that shot.
    """

    def __init__(
        self, path: Path, method: Method = "adaptive", watch: Callable[[int, Frame], None] | None = None
    ) -> None:
        self.path = path
        self.fault = ""
        """Why the film is not complete; empty if it is."""
        self.damage: list[tuple[float, float]] = []
        """Stretches, as start and end in seconds, in which pictures are broken, doubtful or lost."""
        self._film: Film | None = None
        self._cutter, self._chooser = Cutter(method), Chooser(watch)
        self._sizes: list[tuple[int, int]] = []
        self._scaler = colour.Scaler()
        self._orientations: dict[int, Orientation] = {}
        self._before: _Sight | None = None
        self._now: _Sight | None = None

    def shots(self) -> Iterator[Shot]:
        """The shots in order. Those that came before a fault of the file are given too."""
        try:
            with files.open_regular(self.path) as file:
                self._film = Film(file)
                for sight in self._sights(self._film):
                    yield from self._next(sight)
                self.fault, self.damage = self._film.fault, self._film.damage
        except (av.error.FFmpegError, OSError) as error:
            self.fault = error.strerror or type(error).__name__
        except Exception as error:  # as for pictures: whatever a decoder raises costs only this film
            self.fault = str(error) or type(error).__name__
        if self._film is not None and self._now is not None:
            yield from self._take(self._now, None, self._film.end)
            yield from map(self._chooser.cut, self._cutter.end())
            yield self._chooser.end()
        elif not self.fault:
            self.fault = "it holds no pictures"

    def _sights(self, film: Film) -> Iterator[_Sight]:
        """What is looked at: every picture, or as many as STEP allows."""
        last, lost, key = -STEP, False, False
        for picture in film.pictures():
            lost, key = lost or picture.lost, key or picture.key
            if picture.time - last < STEP - 1e-6:
                continue
            yield self._look(picture, lost, key)
            last, lost, key = picture.time, False, False

    def _look(self, picture: Picture, lost: bool, key: bool) -> _Sight:
        frame = picture.frame
        # Fixed by the first frame: detectors compare frames, and streams may change their size on the way.
        self._sizes = self._sizes or [
            _shrunk(frame.width, frame.height, width) for width in (MEASURE_WIDTH, DETECT_WIDTH)
        ]
        measured, detected = self._sizes
        image = colour.picture(frame, picture.tags, measured, self._scaler)
        small = np.asarray(cv2.resize(image, detected, interpolation=cv2.INTER_AREA), np.uint8)
        return _Sight(picture, image, small, choice.lines(frame), lost, key)

    def _next(self, sight: _Sight) -> Iterator[Shot]:
        if self._now is not None:
            yield from self._take(self._now, sight, sight.picture.time)
        self._before, self._now = self._now, sight

    def _take(self, now: _Sight, after: _Sight | None, end: float) -> Iterator[Shot]:
        """Takes a picture whose neighbours are known, and gives the shots that this shows to be over."""
        frame, picture = now.picture.frame, now.picture
        self._chooser.add(
            Frame(
                frame=colour.smaller(frame, HELD_BYTES),
                image=now.image,
                time=picture.time,
                end=end,
                state=picture.state,
                sharpness=sharpness(np.asarray(cv2.cvtColor(now.image, cv2.COLOR_BGR2GRAY), np.uint8)),
                combed=self._is_combed(now),
                outlier=self._is_outlier(now, after),
                tags=picture.tags,
                orientation=self._orientation(frame),
                stretch=picture.stretch,
            )
        )
        for cut in self._cutter.add(Sample(picture.time, end, now.small, now.lost, picture.state, now.key)):
            yield self._chooser.cut(cut)
        self._chooser.settle(self._cutter.settled)

    def _orientation(self, frame: av.VideoFrame) -> Orientation:
        """How a frame lies. Its side data is asked for once per angle: it and the frame would keep each other alive."""
        if frame.rotation not in self._orientations:
            self._orientations[frame.rotation] = colour.orientation(frame)
        return self._orientations[frame.rotation]

    def _is_combed(self, now: _Sight) -> bool:
        if self._before is None or now.lines is None or self._before.lines is None:
            return False
        same = now.lines.shape == self._before.lines.shape
        return same and choice.combing(now.lines, self._before.lines) > choice.COMBED

    def _is_outlier(self, now: _Sight, after: _Sight | None) -> bool:
        if self._before is None or after is None:
            return False
        return choice.is_outlier(self._before.small, now.small, after.small)


def _shrunk(width: int, height: int, most: int) -> tuple[int, int]:
    """The size at most so wide; a smaller one stays."""
    return (width, height) if width <= most else (most, max(1, round(height * most / width)))
