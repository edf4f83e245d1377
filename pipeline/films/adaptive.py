"""PySceneDetect's adaptive detector, and what it doesn't see: cuts beside a fast pan, and fades (see `fades`)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scenedetect import AdaptiveDetector, FrameTimecode

from pipeline.films.cuts import LEAST_CHANGE, RATE, Change, apart, difference, hsv, overlapping
from pipeline.films.fades import Fades

# Best mean F1 over three data sets in PySceneDetect's own sweep (benchmark/SWEEP_REPORT.md): 3.5, 0.6 s, window 3.
THRESHOLD, WINDOW = 3.5, 3
STANDS_OUT, UNMOVED = 1.4, 0.7
"""Between a still shot and a fast pan a cut does not stand out enough from the mean around it. It counts if it is so
many times as large as each change around it, and if of the difference this share is left when one picture is shifted to
lie on the other."""


class _Detector(AdaptiveDetector):  # type: ignore[misc]  # the package ships no types
    """PySceneDetect's, told by how much pictures differ: taking that a second time costs more than all else here. If
    another version asks for it elsewhere, it finds the same by itself."""

    changed = 0.0

    def _calculate_frame_score(self, timecode: FrameTimecode, frame_img: NDArray[np.uint8]) -> float:
        return self.changed


class Adaptive:
    """Finds changes that stand out from those around them, and stretches without any picture; `WINDOW` pictures late,
    or as long as a flash may last."""

    def __init__(self) -> None:
        self._detector = _Detector(THRESHOLD, 0, WINDOW)
        self._fades = Fades()
        self._shown = 0
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
            self._detector.changed = 0.0 if again else changed
            self._last.append((image, self._sample, self._detector.changed))
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
