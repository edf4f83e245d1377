"""The rule of PySceneDetect's adaptive detector, and what it doesn't see: cuts beside a fast pan, fades (`fades`).

The rule is written out here, as the library's own detector takes the differences of pictures a second time, in more
time than the rest of this package takes for a frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.films.cuts import LEAST_CHANGE, Change, apart, difference, hsv, overlapping
from pipeline.films.fades import Fades

# Best mean F1 over three data sets in PySceneDetect's own sweep (benchmark/SWEEP_REPORT.md): 3.5, 0.6 s, window 3.
THRESHOLD, WINDOW = 3.5, 3
LEAST_SCORE = 15.0
"""Levels by which a picture must differ from the one before it for a cut; that detector's default."""
STANDS_OUT, UNMOVED = 1.4, 0.7
"""Between a still shot and a fast pan a cut does not stand out enough from the mean around it. It counts if it is so
many times as large as each change around it, and if of the difference this share is left when one picture is shifted to
lie on the other."""


class Adaptive:
    """Finds changes that stand out from those around them, and stretches without any picture; `WINDOW` pictures late,
    or as long as a flash may last."""

    def __init__(self) -> None:
        self._fades = Fades()
        self._sample = -1
        self._hsv: NDArray[np.uint8] | None = None
        # Of the last pictures shown: themselves, their samples, and by how much they differ from those before them.
        self._last: deque[tuple[NDArray[np.uint8], int, float]] = deque(maxlen=2 * WINDOW + 2)

    def add(self, image: NDArray[np.uint8], times: int) -> list[Change]:
        self._sample += 1
        return [*self._show(image, times), *self._fades.add(image, self._sample, times)]

    def end(self) -> list[Change]:
        return []

    @property
    def decided(self) -> int:
        shown = self._last[-WINDOW - 1][1] if len(self._last) > WINDOW else 0
        return min(shown, self._fades.decided)

    def _show(self, image: NDArray[np.uint8], times: int) -> Iterator[Change]:
        before, self._hsv = self._hsv, hsv(image)
        changed = 0.0 if before is None else apart(before, self._hsv)
        for again in range(times):
            self._last.append((image, self._sample, 0.0 if again else changed))
            if self._stands_out() or self._is_beside_a_pan():
                place = self._last[-WINDOW - 1][1]
                yield Change(place - 1, place)

    def _stands_out(self) -> bool:
        """Whether the picture shown WINDOW pictures ago differs by far more from the one before it than those around it
        do from theirs."""
        if len(self._last) < 2 * WINDOW + 1:
            return False
        changes = [change for *_, change in self._last][-2 * WINDOW - 1 :]
        score = changes.pop(WINDOW)
        return score >= LEAST_SCORE and score >= THRESHOLD * sum(changes) / len(changes)

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
