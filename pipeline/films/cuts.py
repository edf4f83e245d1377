"""Cuts: where one shot ends and the next begins. PySceneDetect's adaptive detector, or the network TransNetV2.

Detectors are shown samples of a film in order and name *changes* of the picture, some samples late. A change is a cut
unless the picture soon is what it was before (a flash), pictures are lost there, or the shot would be too short.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.films.decoding import State

Method = Literal["adaptive", "transnetv2"]

SHORTEST_SHOT = 0.6  # s; of the best setting in PySceneDetect's sweep, see `adaptive`
RATE = 25.0
"""Samples per second that detectors are made for. Pictures that are shown for longer are shown to them repeatedly."""
MOST_TIMES = 7
"""Times that a picture is repeated at most; after so many, it looks still to a detector."""
HELD = 0.2
"""Seconds from which a picture is one that is held, as in a slide show."""
LEAST_CHANGE = 20.0
"""Levels by which the picture after a held one must differ from it. Two that are seconds apart don't tell how much
moves: those of one drawn shot differ by up to 17, slides of shapes by 24 and more."""
LEAST = 10.0
"""Levels by which the pictures before and after any change must differ; grain alone makes up to 6."""
FLASH = 0.5
"""Seconds within which the picture must be what it was before for a change to be a flash."""
RETURN = 0.5
"""Share of a change up to which a later picture may differ from the one before it and still be the same shot."""
OVERLAP = 0.5
"""Share of a picture that must still be seen after a movement of the camera during a flash."""
LOSS = 0.5
"""Seconds after lost pictures in which a change is put down to them."""


@dataclass(frozen=True)
class Sample:
    """A picture as detectors see it."""

    time: float
    end: float
    """Seconds from the film's start at which it appears, and at which the next one does."""
    image: NDArray[np.uint8]
    """BGR, 256 pixels wide or less."""
    lost: bool = False
    """Whether pictures are lost before it."""
    state: State = State.GOOD
    key: bool = True
    """Whether it is built on no other picture, or one that was passed over since the last sample was."""

    @cached_property
    def hsv(self) -> NDArray[np.uint8]:
        """The image as `apart` compares it; each is compared with many."""
        return hsv(self.image)


@dataclass(frozen=True)
class Cut:
    """The old shot ends at `before`, the new one begins at `after`; both are equal unless the transition is gradual."""

    before: float
    after: float


@dataclass(frozen=True)
class Change:
    """Samples between which the picture changes, by their numbers: the last one before it, and the first one after."""

    before: int
    after: int
    blank: bool = False
    """Whether one side of it is a stretch without any picture, too long for a flash."""


class Detector(Protocol):
    def add(self, image: NDArray[np.uint8], times: int) -> list[Change]:
        """Takes the next sample, and gives the changes that are found by now.

        Args:
            times: how often it is to be repeated.
        """

    def end(self) -> list[Change]:
        """The changes that are found once no sample follows."""

    @property
    def decided(self) -> int:
        """No change will be named any more that begins with a sample before this one."""


class Cutter:
    """Takes samples in order and gives the cuts among them."""

    def __init__(self, method: Method = "adaptive") -> None:
        self._detector = _detector(method)
        self._samples: deque[Sample] = deque()
        self._first = 0  # number of the first sample that is kept
        self._changes: deque[Change] = deque()
        self._last_cut = 0.0
        self._sound: Sample | None = None
        """The last sample before damage."""
        self._calm = 0
        """The sample at which the last flash was over; changes before it are part of that."""

    def add(self, sample: Sample) -> list[Cut]:
        """The cuts that are certain by now."""
        if sample.state < State.GOOD and self._samples and self._samples[-1].state == State.GOOD:
            self._sound = self._samples[-1]
        self._samples.append(sample)
        shown = sample.end - sample.time
        times = 1 if shown < HELD else min(round(shown * RATE), MOST_TIMES)
        self._changes.extend(self._detector.add(sample.image, times))
        return self._certain(ended=False)

    def end(self) -> list[Cut]:
        """The rest, once no sample follows."""
        self._changes.extend(self._detector.end())
        return self._certain(ended=True)

    @property
    def settled(self) -> float:
        """Seconds from the film's start up to which all cuts are known."""
        number = min(self._detector.decided, *(change.before for change in self._changes), self._next - 1)
        return self._sample(max(number, self._first)).time

    @property
    def _next(self) -> int:
        return self._first + len(self._samples)

    def _sample(self, number: int) -> Sample:
        return self._samples[number - self._first]

    def _certain(self, *, ended: bool) -> list[Cut]:
        cuts = []
        while self._changes:
            change = self._changes[0]
            verdict = self._verdict(change, ended)
            if verdict is None:
                break
            self._changes.popleft()
            if verdict:
                after = self._sample(change.after).time
                before = after if change.after == change.before + 1 else self._sample(change.before).end
                cuts.append(Cut(before, after))
                self._last_cut = after
        self._forget()
        return cuts

    def _verdict(self, change: Change, ended: bool) -> bool | None:
        """Whether a change is a cut; None if that can't be told yet."""
        too_soon = self._sample(change.after).time - self._last_cut < SHORTEST_SHOT - 1e-6
        if too_soon or self._is_loss(change):
            return False
        if change.blank:
            return True  # even after what was taken for a flash: what follows may be much the same in colour
        if change.before < self._calm:
            return False
        stays = self._differ(change) and self._stays(change, ended)
        return stays and not self._is_panned_over(change)

    def _differ(self, change: Change) -> bool:
        """Whether the pictures before and after a change are of different shots, as far as these two tell."""
        before, after = self._sample(change.before), self._sample(change.after)
        size = apart(before.hsv, after.hsv)
        if size < (LEAST_CHANGE if before.end - before.time >= HELD else LEAST):
            return False
        if before.state < State.GOOD and self._sound is not None and apart(self._sound.hsv, after.hsv) < RETURN * size:
            return False  # it is what it was before the damage
        between = (self._sample(number) for number in range(change.before + 1, change.after))
        if any(size < RETURN * apart(before.hsv, one.hsv) for one in between):  # a flash as a whole
            return False
        earlier = (one for one in self._samples if 0 < before.time - one.time <= FLASH)
        return not any(apart(one.hsv, after.hsv) < RETURN * size for one in earlier)  # else a flash's end

    def _stays(self, change: Change, ended: bool) -> bool | None:
        """Whether the picture does not soon become what it was before a change; None if that can't be told yet."""
        before, after = self._sample(change.before), self._sample(change.after)
        size = apart(before.hsv, after.hsv)
        for number in range(change.after + 1, self._next):
            later = self._sample(number)
            if later.time - after.time > FLASH:
                return True
            if apart(before.hsv, later.hsv) < RETURN * size:
                self._calm = number
                return False
        return True if ended or self._samples[-1].end - after.time > FLASH else None

    def _is_panned_over(self, change: Change) -> bool:
        """Whether a change is the start or the end of a flash during which the camera moves on."""
        before, after = self._sample(change.before), self._sample(change.after)
        least = RETURN * apart(before.hsv, after.hsv)
        earlier = (one for one in self._samples if 0 < before.time - one.time <= FLASH)
        if any(_is_panned(one.image, after.image, least) for one in earlier):
            return True
        for number in range(change.after + 1, self._next):
            later = self._sample(number)
            if later.time - after.time > FLASH:
                break
            if _is_panned(before.image, later.image, least):
                self._calm = number
                return True
        return False

    def _is_loss(self, change: Change) -> bool:
        """Whether a change may be due to lost pictures: after these, all are wrong up to the next key frame."""
        after = self._sample(change.after)
        if after.key:
            return False
        if State.BROKEN in (after.state, self._sample(change.before).state):
            return True
        return any(one.lost and 0 <= after.time - one.time <= LOSS for one in self._samples)

    def _forget(self) -> None:
        """Drops samples that no change can lie before any more."""
        keep = min(self._detector.decided, *(change.before for change in self._changes), self._next - 1)
        while self._first < keep and self._samples[0].end < self._sample(keep).time - LOSS:
            self._samples.popleft()
            self._first += 1


def _detector(method: Method) -> Detector:
    if method == "adaptive":
        from pipeline.films.adaptive import Adaptive

        return Adaptive()
    from pipeline.films.transnet import TransNet

    return TransNet()


def _is_panned(image: NDArray[np.uint8], other: NDArray[np.uint8], least: float) -> bool:
    """Whether two pictures between which the camera may have moved differ by less than that where they overlap."""
    here, there = overlapping(image, other)
    return here.size >= OVERLAP * image.size and difference(here, there) < least


def overlapping(image: NDArray[np.uint8], other: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """What two pictures have in common if one is shifted to lie on the other; it may be nothing."""
    old, new = (cv2.cvtColor(one, cv2.COLOR_BGR2GRAY).astype(np.float32) for one in (image, other))
    height, width = old.shape
    (across, down), _ = cv2.phaseCorrelate(old, new, cv2.createHanningWindow((width, height), cv2.CV_32F))
    x, y = round(across), round(down)
    wide, tall = max(0, width - abs(x)), max(0, height - abs(y))
    here = image[max(0, -y) :, max(0, -x) :][:tall, :wide]
    there = other[max(0, y) :, max(0, x) :][:tall, :wide]
    return here, there


def difference(image: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Mean difference of two BGR pictures in levels of hue, saturation and value, as PySceneDetect measures it."""
    return apart(hsv(image), hsv(other))


def apart(image: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """The `difference` of two pictures that are HSV already."""
    return float(sum(cv2.mean(cv2.absdiff(image, other))[:3])) / 3


def hsv(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2HSV), np.uint8)
