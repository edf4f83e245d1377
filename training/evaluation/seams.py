"""Whether the panels of a generated grid are where its layout says, told from the picture alone.

Within a picture neighbouring lines are alike, and across a seam they are not: the step is larger than those near by in
almost every column, and what there is of structure doesn't continue. How large a step is in itself tells nothing: the
seam of two dark panels is a smaller one than most within a bright panel. Where both sides are flat and of one colour
nothing can be said, and nothing is.

Calibrated by `bench.malformed`. Shapes: L lines of a strip, W pixels of a line.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.records import Layout

Floats = NDArray[np.float32]

SIDE = 256
"""Pixels that a panel's shorter side keeps when larger ones are reduced: grain and the decoder's blur go with it."""
NEAR = 8
"""Lines to each side with which a line is compared."""
GAP = 1
"""Lines that are left out at a seam, which a decoder blurs."""
NOISE = 6.0
"""Of a step, in levels of 255: what is smaller stands for nothing."""
PLACE = 1 / 64
"""Of a panel's side: how far a seam may be from its place. Those of the published grids are up to 0.9 % off."""

NO_SEAM = 0.4
"""Break below which no seam is there; and alikeness and structure from which the picture continues across it."""
CONTINUES = 0.3
STRUCTURE = 3.0
"""Levels of 255 by which the pixels of a line differ (root mean square) before it has any structure."""
MOVED = 0.7
"""Break from which a line is a seam that is missing in its place."""
FURTHER = 0.75
"""Break from which a line is a seam where none belongs, if also ..."""
THROUGHOUT = 0.7
"""... the same holds of every sixteenth of the line but one, since something stands before most horizons ..."""
RICH = 15.0
"""... and both sides have this much structure, in levels of 255: sky and sea meet in a line like a seam."""
PARTS = 16
REACH = 1 / 4
"""Of a panel's side: how far from its place a seam is looked for."""
BLANK = 12.0
"""Levels of 255 within which 98 % of a blank panel's pixels lie."""


@dataclass(frozen=True)
class _Seam:
    """What is at the place of a seam."""

    start: int
    """The first boundary of the place."""
    is_lost: bool
    """No seam is there, although it would be seen."""
    continues: bool
    """One picture goes on across it."""


@dataclass(frozen=True)
class _Strip:
    """The panels of one column from top to bottom, or of one row from left to right; what is between its lines."""

    breaks: Floats
    """At every boundary between two lines 0..1: 0 where the picture continues, 1 where all ends at once."""
    alike: Floats
    """Correlation of the lines at both sides, less what changes slowly along them."""
    structure: Floats
    """Levels by which the pixels of the flatter side differ."""
    throughout: Floats
    """Like the break, but of the part of the line where it is weakest but one."""
    panels: tuple[int, ...]
    """From 1, as the layout counts them."""
    upright: bool

    @property
    def side(self) -> float:
        """Lines of a panel."""
        return len(self.breaks) / len(self.panels)

    @property
    def slack(self) -> int:
        return max(2, round(self.side * PLACE))

    @property
    def seams(self) -> list[_Seam]:
        """What is at the places of the seams."""
        return [self._seam(self.around(seam, self.slack)) for seam in range(len(self.panels) - 1)]

    def around(self, seam: int, reach: int) -> slice:
        """Boundaries near the place of a seam; the first is between panels 0 and 1."""
        place = round((seam + 1) * self.side)
        return slice(max(0, place - reach), place + reach + 1)

    def _seam(self, own: slice) -> _Seam:
        seen, rich = self.breaks[own].max() >= NO_SEAM, self.structure[own] >= STRUCTURE
        # Margins of slides and bars of films are flat at the seam: whether there is one can't be seen.
        is_lost, continues = not seen and rich.any(), not seen and (rich & (self.alike[own] >= CONTINUES)).all()
        return _Seam(own.start, bool(is_lost), bool(continues))


def faults(grid: Image.Image, layout: Layout, given: Collection[int] = ()) -> tuple[str, ...]:
    """What is wrong with a grid's panels, one phrase for each fault; none where they are as the layout says.

    Args:
        grid: RGB, with the layout's canvas.
        given: panels, from 0, that were not generated: what they show is no fault.
    """
    ours = {panel + 1 for panel in range(layout.size) if panel not in given}
    found = [f"panel {panel} is blank" for panel in _blank(grid, layout) if panel in ours]
    strips = list(_strips(grid, layout))
    for strip in strips:
        seams = [one for other in strips if other.upright == strip.upright for one in other.seams]
        found += _of_strip(strip, ours, all_lost=len(seams) > 1 and all(one.is_lost for one in seams))
    return tuple(found)


def _blank(grid: Image.Image, layout: Layout) -> Iterator[int]:
    edge = max(2, round(min(layout.panel_width, layout.panel_height) * PLACE * 2))  # blurred with the panels beside
    for panel, (left, top, right, bottom) in enumerate(layout.boxes, 1):
        inner = grid.crop((left + edge, top + edge, right - edge, bottom - edge))
        low, high = np.percentile(np.asarray(inner), (1, 99), axis=(0, 1))
        if (high - low).max() < BLANK:
            yield panel


def _strips(grid: Image.Image, layout: Layout) -> Iterator[_Strip]:
    factor = max(1, min(layout.panel_width, layout.panel_height) // SIDE)
    picture = np.asarray(grid.reduce(factor), np.float32)
    numbers = np.arange(1, layout.size + 1).reshape(layout.rows, layout.cols)
    for pixels, panels, upright in ((picture, numbers, True), (picture.swapaxes(0, 1), numbers.T, False)):
        for part, column in zip(np.array_split(pixels, panels.shape[1], axis=1), panels.T, strict=True):
            yield _strip(part, tuple(map(int, column)), upright=upright)


def _strip(lines_LW3: Floats, panels: tuple[int, ...], *, upright: bool) -> _Strip:
    apart = 2 * GAP + 1
    fine = _fine(lines_LW3)
    above, below = fine[:-apart], fine[apart:]
    energies = np.stack([(side**2).mean(axis=(1, 2)) for side in (above, below)])
    alike = (above * below).mean(axis=(1, 2)) / np.sqrt(energies.prod(axis=0) + 1e-6)
    steps = np.abs(lines_LW3[apart:] - lines_LW3[:-apart]).mean(axis=2)
    larger = np.log((steps + NOISE) / (_usual(steps) + NOISE)).clip(0, 1)
    parts = np.sort([part.mean(axis=1) for part in np.array_split(larger, PARTS, axis=1)], axis=0)
    breaks = larger.mean(axis=1) * (1 - alike.clip(0))
    edges = (GAP + 1, GAP)  # so that entry n is the boundary above line n
    return _Strip(
        breaks=np.pad(breaks, edges),
        alike=np.pad(alike, edges),
        structure=np.pad(np.sqrt(energies.min(axis=0)), edges),
        throughout=np.pad(parts[1], edges),
        panels=panels,
        upright=upright,
    )


def _fine(lines_LW3: Floats) -> Floats:
    """What changes quickly along a line: less the mean of an eighth of it around every pixel."""
    width = lines_LW3.shape[1] // 16 * 2 + 1
    padded = np.pad(lines_LW3, ((0, 0), (width // 2 + 1, width // 2), (0, 0)), mode="edge")
    sums = padded.cumsum(axis=1, dtype=np.float64)
    return np.asarray(lines_LW3 - (sums[:, width:] - sums[:, :-width]) / width, np.float32)


def _usual(steps_LW: Floats) -> Floats:
    """The median step of the lines near by, column by column, without those that share a pixel with the line's own."""
    lines = len(steps_LW)
    padded = np.pad(steps_LW, ((NEAR, NEAR), (0, 0)), mode="reflect")
    away = [shift for shift in range(-NEAR, NEAR + 1) if abs(shift) > 2 * GAP + 1]
    return np.asarray(np.median([padded[NEAR + shift :][:lines] for shift in away], axis=0), np.float32)


def _of_strip(strip: _Strip, ours: Collection[int], *, all_lost: bool) -> Iterator[str]:
    """
    Args:
        ours: panels that were generated.
        all_lost: whether no seam in this direction is in its place, so that all may be shifted.
    """
    moved: list[int] = []
    for number, (seam, (one, other)) in enumerate(zip(strip.seams, itertools.pairwise(strip.panels), strict=True)):
        if not (seam.continues or all_lost) or not {one, other} & set(ours):
            continue
        wide = strip.around(number, round(strip.side * REACH))
        found = wide.start + int(strip.breaks[wide].argmax())
        if strip.breaks[found] >= MOVED:
            moved.append(found)
            ways = ("down", "up") if strip.upright else ("right", "left")
            share = abs(found - round((number + 1) * strip.side)) / strip.side
            way = ways[found < seam.start]
            yield f"the seam between panels {one} and {other} is {share:.0%} of a panel too far {way}"
        elif seam.continues:
            yield f"panels {one} and {other} are one picture"
    for number, panel in enumerate(strip.panels):
        if panel in ours and (place := _further(strip, number, moved)) is not None:
            across = "from left to right" if strip.upright else "from top to bottom"
            yield f"panel {panel} is divided {across} at {place:.0%}"


def _further(strip: _Strip, number: int, moved: list[int]) -> float | None:
    """Where a panel has a seam within, as a share of its side."""
    margin = strip.slack + NEAR
    start, stop = (round((number + more) * strip.side) + sign * margin for more, sign in ((0, 1), (1, -1)))
    seams = (strip.breaks >= FURTHER) & (strip.throughout >= THROUGHOUT) & (strip.structure >= RICH)
    for place in moved:
        seams[max(0, place - margin) : place + margin] = False
    within = np.flatnonzero(seams[start:stop])
    if not within.size:
        return None
    best = start + within[strip.breaks[start:stop][within].argmax()]
    return float(best / strip.side - number)
