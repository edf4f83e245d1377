"""PySceneDetect's adaptive detector, and what it doesn't see: cuts beside a fast pan, and fades."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scenedetect import AdaptiveDetector, FrameTimecode

from pipeline.films.cuts import FLASH, LEAST_CHANGE, RATE, Change, difference, overlapping

Floats = NDArray[np.float32]

# Best mean F1 over three data sets in PySceneDetect's own sweep (benchmark/SWEEP_REPORT.md): 3.5, 0.6 s, window 3.
THRESHOLD, WINDOW = 3.5, 3
STANDS_OUT, UNMOVED = 1.4, 0.7
"""Between a still shot and a fast pan a cut does not stand out enough from the mean around it. It counts if it is so
many times as large as each change around it, and if of the difference this share is left when one picture is shifted to
lie on the other."""
CELLS = (32, 18)
"""Pictures are compared at this size to tell whether they are blank, so that grain doesn't count."""
BLANK = 2.5
"""Standard deviation of a picture's brightness, in levels, up to which there is nothing to be seen in it."""
ALIKE = 0.9
"""Correlation of brightness from which the pictures before and after a short blank stretch are of one shot."""
FADED = 0.5
"""Share of the contrast of the last half second, below which a picture is part of a fade and not beside a flash."""


class Adaptive:
    """Finds changes that stand out from those around them, and stretches without any picture; `WINDOW` pictures late,
    or as long as a flash may last."""

    def __init__(self) -> None:
        self._detector = AdaptiveDetector(THRESHOLD, 0, WINDOW)
        self._blanks = _Blanks()
        self._shown = 0
        self._sample = -1
        # Of the last pictures shown: themselves, their samples, and by how much they differ from those before them.
        self._last: deque[tuple[NDArray[np.uint8], int, float]] = deque(maxlen=2 * WINDOW + 2)

    def add(self, image: NDArray[np.uint8], times: int) -> list[Change]:
        self._sample += 1
        return [*self._show(image, times), *self._blanks.add(image, self._sample, times)]

    def end(self) -> list[Change]:
        return []

    @property
    def decided(self) -> int:
        shown = self._last[-WINDOW - 1][1] if len(self._last) > WINDOW else 0
        return min(shown, self._blanks.decided)

    def _show(self, image: NDArray[np.uint8], times: int) -> Iterator[Change]:
        for again in range(times):
            changed = difference(self._last[-1][0], image) if self._last and not again else 0.0
            self._last.append((image, self._sample, changed))
            found = self._detector.process_frame(FrameTimecode(self._shown, RATE), image)
            self._shown += 1
            if found or self._is_beside_a_pan():
                place = self._last[-WINDOW - 1][1]
                yield Change(place - 1, place)

    def _is_beside_a_pan(self) -> bool:
        """Whether the picture shown WINDOW pictures ago begins a shot, though much moves on one side of the cut."""
        if len(self._last) < 2 * WINDOW + 2:
            return False
        (before, *_), (image, _, change) = self._last[WINDOW], self._last[WINDOW + 1]
        around = max(one for place, (*_, one) in enumerate(self._last) if place not in (0, WINDOW + 1))
        return change >= max(LEAST_CHANGE, STANDS_OUT * around) and not _is_shifted(before, image)


def _is_shifted(image: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Whether two pictures are much alike once one is shifted, as after a movement of the camera."""
    here, there = overlapping(image, other)
    return here.size > 0 and difference(here, there) < UNMOVED * difference(image, other)


@dataclass(frozen=True)
class _Full:
    """The last picture that is not blank."""

    sample: int
    contrast: float
    cells: Floats


class _Blanks:
    """Finds fades: a shot that ends in black, white or another even ground ends there, and the next begins behind it.

    A detector of sudden changes sees nothing of them, as pictures get darker and lighter step by step.
    """

    def __init__(self) -> None:
        self._full: _Full | None = None
        self._shown = 0  # how often blank pictures were shown since
        self._told = False  # whether it is known by now that the shot has ended
        self._contrasts: deque[float] = deque(maxlen=round(FLASH * RATE))

    def add(self, image: NDArray[np.uint8], sample: int, times: int) -> Iterator[Change]:
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32)
        cells = np.asarray(cv2.resize(grey, CELLS, interpolation=cv2.INTER_AREA), np.float32)
        contrast = float(cells.std())
        if contrast <= BLANK:
            yield from self._meet_blank(sample, times)
            return
        if self._told or (self._full is None and self._shown > FLASH * RATE):
            yield Change(sample - 1, sample, blank=True)
        elif self._shown and self._full is not None and self._is_fade(self._full, contrast, cells):
            yield Change(self._full.sample, sample, blank=True)
        self._full, self._shown, self._told = _Full(sample, contrast, cells), 0, False
        self._contrasts.append(contrast)

    def _is_fade(self, full: _Full, contrast: float, cells: Floats) -> bool:
        """Whether a short blank stretch before a picture parts two shots; `full` is the last one before it."""
        slow = min(full.contrast, contrast) < FADED * max(self._contrasts)
        return slow and float(np.corrcoef(full.cells.ravel(), cells.ravel())[0, 1]) < ALIKE

    def _meet_blank(self, sample: int, times: int) -> Iterator[Change]:
        self._shown += times
        if self._full is not None and self._shown > FLASH * RATE and not self._told:
            yield Change(self._full.sample, self._full.sample + 1, blank=True)
            self._told = True

    @property
    def decided(self) -> int:
        """No change will be named any more that begins with a sample before this one."""
        return self._full.sample if self._full is not None and not self._told else 1 << 62
