"""Channel logos and watermarks: what a film shows at one place in most of its shots, whatever else they show.

One shot can't tell a logo from a sign in the scene, and a drawn logo has no letters to know it by. Different shots can:
their edges differ everywhere, except where something is laid over all of them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.films import strokes
from pipeline.films.bars import Edges
from pipeline.films.lettering import Overlay
from pipeline.films.strokes import Floats, Mask, Pixels

Sectors = NDArray[np.uint8]
"""By pixel, how an edge runs that holds still over a shot, 1 to SECTORS; 0 if there is none. Which of its sides is the
brighter one does not matter: a grey logo is darker than snow."""

SECTORS = 8
EDGE = 4.0
"""Levels per pixel from which a change of brightness is an edge, even one that a picture shows through."""
STEADY = 0.6
"""Share of a shot's frames that show an edge in one direction, from which it holds still."""
SHARE, LEAST_SETS = 0.6, 4
"""Share of the sets, and their number, in which a mark in a corner must show the same edges."""
SHARE_INSIDE, LEAST_SETS_INSIDE = 0.85, 6
"""The same for a mark elsewhere, where people stand who are drawn or filmed alike in many shots."""
CORNER = (0.25, 0.25)
"""Width and height of a corner, as shares of the frame's."""
COMMON = 0.12
"""Share of their edges that shots of one set have in common; they count as one."""
CELLS, MARKED_CELLS = (8, 8), 8
"""Cells across and down that the frame is divided into for that, and how many of them a mark may fill."""
MOST_SHOTS = 80
"""Shots of a film, evenly spread, that are compared."""
LEAST_EDGES = 25
"""Pixels of edge that a mark has at least."""
MOST_OF_FRAME = 0.04
"""Share of the frame that edges found in most shots may take; with more, all shots show one set: nothing is told."""
JOIN = 9
"""Pixels across which a mark's parts are joined."""
SIDES = (0.008, 0.45)
"""Sides of a mark as shares of the frame's; thinner ones are lines, larger ones a frame within the frame."""
MIXED = 0.12
"""Share of its edges that must run upright, and as many level; the edge of a bar has one direction only."""
WHOLE = 0.7
"""Share of its edges that a set shows on average; of what people and places happen to have in common they show less."""
PRESENT = 0.2
"""Share of a mark's edges from which a shot has it: of a grey one on snow, only what is dark is seen. Shots without it
show up to 0.18."""
PAD = 2


@dataclass(frozen=True)
class _Mark:
    box: Pixels
    edges: Mask
    """Its edges within the box, and their directions."""
    sectors: Sectors


class MarkFinder:
    """Finds marks that stand in most of a film's shots. Frames are added as to a BarFinder.

    Args:
        bars: what of a shot is bars; asked once all frames were added. Their edges are the same in all shots, which
            would pass for one set.
    """

    def __init__(self, bars: Callable[[int], Edges] | None = None) -> None:
        self._bars = bars
        self._shot: int | None = None
        self._size: tuple[int, int] | None = None
        self._sums: list[Floats] = []
        self._frames = 0
        self._seen: dict[int, bytes] = {}
        self._left_out: set[int] = set()
        self._marks: list[_Mark] | None = None

    def add(self, shot: int, image: NDArray[np.uint8]) -> None:
        """Takes a BGR frame of a shot. One of another size than the first is scaled to that."""
        if shot != self._shot:
            self._close()
        self._size = self._size or (image.shape[1], image.shape[0])
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        if (image.shape[1], image.shape[0]) != self._size:
            grey = cv2.resize(grey, self._size, interpolation=cv2.INTER_AREA)
        right, down = strokes.slope(np.asarray(grey, np.uint8))
        squared = right**2 + down**2
        weight = (squared > EDGE**2) / np.maximum(squared, 1e-6)
        # The doubled angle of an edge, as a point on the unit circle: which side is brighter makes no difference.
        found = [weight * (right**2 - down**2), weight * 2 * right * down]
        self._sums = [one + other for one, other in zip(self._sums, found, strict=True)] if self._sums else found
        self._frames = self._frames + 1 if self._shot == shot else 1
        self._shot, self._marks = shot, None

    def leave_out(self, shot: int) -> None:
        """Takes note that a shot is a title or shows nothing: it needn't have the mark that the others have."""
        self._left_out.add(shot)
        self._marks = None

    def overlays(self, shot: int) -> tuple[Overlay, ...]:
        """The marks in a shot, by all that was added, as shares of the frame; their `frames` are empty."""
        self._close()
        if self._size is None or shot not in self._seen:
            return ()
        if self._marks is None:
            known = sorted(self._seen.keys() - self._left_out)
            self._marks = _marks(_sets([self._sectors(each) for each in known[:: 1 + len(known) // MOST_SHOTS]]))
        sectors = self._sectors(shot)
        shown = [mark for mark in self._marks if float(_shown(mark, sectors).mean()) >= PRESENT]
        return tuple(Overlay.around(mark.box, self._size, PAD) for mark in shown)

    def _sectors(self, shot: int) -> Sectors:
        width, height = self._size or (0, 0)
        sectors = np.frombuffer(zlib.decompress(self._seen[shot]), np.uint8).reshape(height, width)
        if self._bars is None or not (cut := self._bars(shot)):
            return sectors
        left, top, right, bottom = cut.box(width, height)
        area = (
            slice(top + PAD * (cut.top > 0), bottom - PAD * (cut.bottom > 0)),
            slice(left + PAD * (cut.left > 0), right - PAD * (cut.right > 0)),
        )
        within = np.zeros_like(sectors)
        within[area] = sectors[area]
        return within

    def _close(self) -> None:
        if self._shot is not None:
            cosine, sine = self._sums
            held = np.hypot(cosine, sine) >= STEADY * self._frames
            sector = np.round(np.arctan2(sine, cosine) / 2 * SECTORS / np.pi) % SECTORS + 1
            self._seen[self._shot] = zlib.compress(np.where(held, sector, 0).astype(np.uint8).tobytes(), 1)
        self._shot, self._sums = None, []


def _sets(shots: list[Sectors]) -> list[list[Sectors]]:
    """The shots, those together that show one set or one person in one place."""
    sets: list[list[Sectors]] = []
    for sectors in shots:
        like = next((one for one in sets if _in_common(one[0], sectors) > COMMON), None)
        if like is None:
            sets.append([sectors])
        else:
            like.append(sectors)
    return sets


def _in_common(first: Sectors, second: Sectors) -> float:
    """Share of their edges that two shots have in common, but for the cells with the most of these: a mark's may be all
    that holds still in two shots of different sets."""
    same = _by_cell((first == second) & (first > 0))
    least = np.minimum(_by_cell(first > 0), _by_cell(second > 0))
    rest = np.argsort(same)[:-MARKED_CELLS]
    return float(same[rest].sum() / max(1e-6, float(least[rest].sum())))


def _by_cell(edges: Mask) -> Floats:
    """Share of the pixels of each cell of the frame that are edges."""
    return np.asarray(cv2.resize(edges.astype(np.float32), CELLS, interpolation=cv2.INTER_AREA), np.float32).ravel()


def _marks(sets: list[list[Sectors]]) -> list[_Mark]:
    """What most sets show, each in any of its shots."""
    if len(sets) < LEAST_SETS:
        return []
    height, width = sets[0][0].shape
    votes = np.zeros((SECTORS, height, width), np.uint16)
    for shots in sets:
        shown = np.asarray([np.any([sectors == number + 1 for sectors in shots], axis=0) for number in range(SECTORS)])
        votes += shown | np.roll(shown, 1, axis=0)  # an edge may be seen now in one sector, now in its neighbour
    least = np.full((height, width), max(LEAST_SETS_INSIDE, SHARE_INSIDE * len(sets)))
    across, down = round(CORNER[0] * width), round(CORNER[1] * height)
    for rows in (slice(0, down), slice(-down, None)):
        for columns in (slice(0, across), slice(-across, None)):
            least[rows, columns] = max(LEAST_SETS, SHARE * len(sets))
    edges = votes.max(axis=0) >= least
    direction = votes.argmax(axis=0).astype(np.uint8)
    if float(edges.mean()) > MOST_OF_FRAME:
        return []
    joined = cv2.morphologyEx(edges.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((JOIN, JOIN), np.uint8))
    count, _, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    boxes = [(x, y, x + width, y + tall) for x, y, width, tall, _ in stats[1:count].tolist()]
    marks = [_Mark(box, edges[_area(box)], direction[_area(box)]) for box in boxes]
    return [mark for mark in marks if _is_mark(mark, width, height) and _whole(mark, sets) >= WHOLE]


def _area(box: Pixels) -> tuple[slice, slice]:
    left, top, right, bottom = box
    return slice(top, bottom), slice(left, right)


def _is_mark(mark: _Mark, width: int, height: int) -> bool:
    left, top, right, bottom = mark.box
    across, down = (right - left) / width, (bottom - top) / height
    if mark.edges.sum() < LEAST_EDGES or not all(SIDES[0] <= side <= SIDES[1] for side in (across, down)):
        return False
    # The first and the last sectors are those in which brightness changes from left to right.
    upright = float(((mark.sectors[mark.edges] + 1) % SECTORS < SECTORS // 2).mean())
    return MIXED <= upright <= 1 - MIXED


def _whole(mark: _Mark, sets: list[list[Sectors]]) -> float:
    """How much of its edges a set shows on average."""
    return float(np.mean([np.any([_shown(mark, sectors) for sectors in shots], axis=0).mean() for shots in sets]))


def _shown(mark: _Mark, sectors: Sectors) -> Mask:
    """Which of a mark's edges a shot shows."""
    here = sectors[_area(mark.box)][mark.edges].astype(int) - 1
    wanted = mark.sectors[mark.edges].astype(int)
    shown: Mask = ((here == wanted) | ((here + 1) % SECTORS == wanted)) & (here >= 0)
    return shown
