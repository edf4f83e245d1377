"""Fades: a shot that gets darker or lighter until nothing is to be seen, and another one that comes out of that."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.films.cuts import FLASH, RATE, Change

Floats = NDArray[np.float32]

CELLS = (32, 18)
"""Pictures are compared at this size to tell whether they are blank, so that grain doesn't count."""
BLANK = 2.5
"""Standard deviation of a picture's brightness, in levels, up to which there is nothing to be seen in it."""
ALIKE = 0.9
"""Correlation of brightness from which the pictures before and after a short blank stretch are of one shot."""
FADED = 0.5
"""Share of the contrast of the last half second, below which a picture is part of a fade and not beside a flash."""


@dataclass(frozen=True)
class _Full:
    """The last picture that is not blank."""

    sample: int
    contrast: float
    cells: Floats


class Fades:
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
        contrast = float(cv2.meanStdDev(cells)[1].item())
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
