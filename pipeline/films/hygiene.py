"""What of a shot is used: no frame without content, no card, and as little burnt-in text and bars as can be.

`pick` decides when a shot has ended, `Cleaner.finish` when the film has: only then it is known which bars it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from pipeline.films import blanks, lettering
from pipeline.films.bars import BarFinder, Edges
from pipeline.films.choice import EDGE, Frame, Shot
from pipeline.films.colour import Picture, Scaler
from pipeline.films.decoding import State
from pipeline.films.lettering import Overlay
from pipeline.films.marks import MarkFinder
from pipeline.task import ShotsSection

LETTERED = "burnt-in text"
"""How notes on pictures that show some begin."""
CUT_AWAY = "cut away"
WATCHED = 0.3
"""Seconds from one frame to the next in which bars and marks are looked for."""
LEAST_LEFT = 0.5
"""Share of a frame that must be left where burnt-in text is cut away."""
ASIDE = 1 / 3
"""Text whose middle lies within this share of the frame's width or height from an edge is called "at" that edge."""


@dataclass(frozen=True)
class Unfit:
    """Why no frame of a shot is used."""

    reason: str
    detail: str
    """The end of a sentence that begins with the shot."""


@dataclass(frozen=True)
class Pick:
    """The frame that stands for a shot."""

    frame: Frame
    overlays: tuple[Overlay, ...] = ()
    """The burnt-in text that it shows."""


def pick(shot: Shot, settings: ShotsSection) -> Pick | Unfit:
    """The best frame of a shot: undamaged rather than without burnt-in text, and that rather than sharp."""
    if not shot.candidates:
        if shot.broken:
            return Unfit("damaged", "has no picture that isn't damaged")
        return Unfit("short shot", f"is shorter than {2 * EDGE} s")
    why = [blanks.blank(frame.look()) for frame in shot.candidates]
    frames = [frame for frame, blank in zip(shot.candidates, why, strict=True) if not blank]
    if not frames:
        kinds = " or ".join(sorted(set(why)))
        return Unfit("blank", f"shows nothing: {kinds}")
    found = lettering.find(_views(frames), settings.text)
    if found.card:
        return Unfit("text card", "is text on a plain ground")
    if settings.lettering == "keep":
        return Pick(max(frames, key=lambda frame: frame.rank))
    overlays = [found.in_frame(number) for number in range(len(frames))]
    best = max(range(len(frames)), key=lambda place: _rank(frames[place], overlays[place]))
    return Pick(frames[best], overlays[best])


def best(shot: Shot) -> Pick:
    """The best frame of a shot that has any, whatever it shows: undamaged rather than sharp."""
    return Pick(max(shot.candidates, key=lambda frame: (frame.state, frame.rank)))


def _views(frames: Sequence[Frame]) -> list[Picture]:
    """The frames for finding text: small, and of one size, whatever sizes a stream has on its way."""
    scaler = Scaler()
    first, *others = (frame.picture(lettering.WIDTH, scaler) for frame in frames)
    size = first.shape[1::-1]
    return [first, *(np.asarray(cv2.resize(one, size, interpolation=cv2.INTER_AREA), np.uint8) for one in others)]


def _rank(frame: Frame, overlays: Sequence[Overlay]) -> tuple[int, bool, tuple[int, bool, bool, float]]:
    return frame.state, not overlays, frame.rank


class Cleaner:
    """Cuts away what is not the picture. `watch` is shown the film's frames, `finish` what was picked of them."""

    def __init__(self, settings: ShotsSection) -> None:
        self._settings = settings
        self._bars = BarFinder()
        self._marks = MarkFinder(self._bars.edges)
        self._shot, self._time = -1, 0.0

    def watch(self, shot: int, frame: Frame) -> None:
        """Takes note of a frame that is known to be in a shot."""
        if shot == self._shot and frame.time - self._time < WATCHED:
            return
        self._shot, self._time = shot, frame.time
        if self._settings.bars:
            self._bars.add(shot, frame.look())
        if self._settings.lettering != "keep":
            self._marks.add(shot, frame.look())

    def leave_out(self, shot: int) -> None:
        """Takes note that nothing of a shot is used: it doesn't say what the others have in common."""
        self._marks.leave_out(shot)

    def finish(
        self, shot: int, image: Picture, overlays: Sequence[Overlay], state: State
    ) -> tuple[Picture, tuple[str, ...]]:
        """The picture as it is kept, and what a person should know of it; to be called once the film has ended.

        Args:
            image, overlays, state: of the frame that was picked.
        """
        notes = []
        height, width = image.shape[:2]
        box = self._bars.edges(shot).box(width, height)
        if cut := _cut_away(box, (width, height)):
            notes.append(f"bars {CUT_AWAY}: {cut}")
        overlays = _inside((*overlays, *self._marks.overlays(shot)), box, (width, height))
        image = _cropped(image, box)
        if overlays and self._settings.lettering == "crop":
            height, width = image.shape[:2]
            if shares := lettering.crop(overlays, LEAST_LEFT):
                left, top, right, bottom = shares
                box = Edges(left, top, 1 - right, 1 - bottom).box(width, height)
                notes.append(f"{LETTERED} {CUT_AWAY}: {_cut_away(box, (width, height))}")
                image, overlays = _cropped(image, box), ()
        notes += sorted({f"{LETTERED} {_place(overlay)}" for overlay in overlays})
        if state == State.DOUBTFUL:
            notes.append("follows damage in its film")
        return image, tuple(notes)


def _cropped(image: Picture, box: tuple[int, int, int, int]) -> Picture:
    left, top, right, bottom = box
    return np.ascontiguousarray(image[top:bottom, left:right])


def _cut_away(box: tuple[int, int, int, int], size: tuple[int, int]) -> str:
    """What lies outside a box, in words; empty if nothing does."""
    (left, top, right, bottom), (width, height) = box, size
    sides = {"top": top, "bottom": height - bottom, "left": left, "right": width - right}
    return ", ".join(f"{pixels} px at the {side}" for side, pixels in sides.items() if pixels)


def _inside(overlays: Sequence[Overlay], box: tuple[int, int, int, int], size: tuple[int, int]) -> tuple[Overlay, ...]:
    """The overlays that reach into a box of a frame of this size, as shares of the box."""
    (left, top, right, bottom), (width, height) = box, size
    across, down = right - left, bottom - top
    moved = (
        replace(
            one,
            left=max(0.0, (one.left * width - left) / across),
            top=max(0.0, (one.top * height - top) / down),
            right=min(1.0, (one.right * width - left) / across),
            bottom=min(1.0, (one.bottom * height - top) / down),
        )
        for one in overlays
    )
    return tuple(one for one in moved if one.left < one.right and one.top < one.bottom)


def shows_text(note: str) -> bool:
    """Whether a note says that the picture still shows burnt-in text."""
    return note.startswith(LETTERED) and CUT_AWAY not in note


def _place(overlay: Overlay) -> str:
    """Where text is, as in "at the bottom left"."""
    across, down = (overlay.left + overlay.right) / 2, (overlay.top + overlay.bottom) / 2
    words = [
        "top" if down < ASIDE else "bottom" if down > 1 - ASIDE else "",
        "left" if across < ASIDE else "right" if across > 1 - ASIDE else "",
    ]
    named = " ".join(word for word in words if word)
    return f"at the {named}" if named else "in the middle"
