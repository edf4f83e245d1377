"""Bars around a film's picture: what every shot shows, and what the film as a whole says of it.

A dark picture ends like a bar: nothing is to be seen at its edge. What tells them apart is that a bar ends in one
straight line across the picture, and that the same line returns in other shots. So each shot is summed up while it is
decoded, and judged when all are known.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Span = tuple[int, int]
"""Pixels to cut away at the low and at the high side of an axis."""

STRIP = 0.008
"""Share of a side, at the very edge, that a bar's colour is taken from; subtitles and logos hardly lie there."""
EVEN = 12.0
"""Levels by which nine tenths of that strip may differ from its colour, noise included; a picture differs more."""
LEAST_MARGIN, MOST_MARGIN = 5.0, 24.0
"""Levels by which a pixel must differ from the bar to count as picture: by the bar's own noise, within these."""
LINE = 0.5
"""Share of a line's pixels that must be picture; subtitles in a bar cover less."""
JUMP = 0.4
"""By how much that share must rise within REACH pixels where a bar ends."""
REACH = 3
CLEAR = 0.05
"""Share of pixels that are not the bar's, up to which a line at the edge of the frame is all bar."""
THICKNESS = (2, 0.42)
"""Pixels of a bar at least, and share of the side at most."""
SAME = 2
"""Pixels by which two bars may differ and be the same: a picture may be dark along its edge."""
OVERLAID = 0.2
"""Share of a bar that subtitles and logos may cover in a shot; more is a picture that reaches into it."""
DARK = 64
"""Levels of the brightest channel up to which a bar is black or dark grey."""
CLEAN = 2.0
"""Levels of noise up to which a bar is drawn and not filmed."""
FULL, HALF = 0.85, 0.6
"""Share of the picture's own strength from which a line at its edge is picture and not a blend with the bar: of what it
is a few lines further in, and twice as far in, where it may differ by itself."""


@dataclass(frozen=True)
class Edges:
    """Shares of the frame's width (left, right) and height (top, bottom) to cut away, 0 to 1."""

    left: float = 0.0
    top: float = 0.0
    right: float = 0.0
    bottom: float = 0.0

    def __bool__(self) -> bool:
        return any((self.left, self.top, self.right, self.bottom))

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, top, right, bottom in pixels of what is left of a frame of this size; rounded inwards."""
        slack = 1e-6  # a share that stands for a whole pixel must not lose another one to rounding
        return (
            ceil(self.left * width - slack),
            ceil(self.top * height - slack),
            floor((1 - self.right) * width + slack),
            floor((1 - self.bottom) * height + slack),
        )


class BarFinder:
    """Finds bars that stand still: letterbox, pillarbox or both, black, grey, white or coloured.

    Frames are added shot by shot, in order; they are small (about 512 pixels wide) and a few a second. Memory does not
    grow with the number of frames, and by some kilobytes with each shot.
    """

    def __init__(self) -> None:
        self._shot: int | None = None
        self._sum: _Sum | None = None
        self._size: tuple[int, int] | None = None
        self._seen: dict[int, _Seen] = {}
        self._found: dict[int, Edges] | None = None

    def add(self, shot: int, image: NDArray[np.uint8]) -> None:
        """Takes a BGR frame of a shot. One of another size than the first is scaled to that."""
        if shot != self._shot:
            self._close()
        height, width = image.shape[:2]
        self._size = self._size or (width, height)
        if (width, height) != self._size:
            image = np.asarray(cv2.resize(image, self._size, interpolation=cv2.INTER_AREA), np.uint8)
        self._shot, self._found = shot, None
        self._sum = self._sum or _Sum(image.shape)
        self._sum.add(image)

    def edges(self, shot: int) -> Edges:
        """What to cut away in this shot, by all that was added; nothing of a shot without frames."""
        self._close()
        if self._found is None:
            self._found = _judge(self._seen)
        return self._found.get(shot, Edges())

    def _close(self) -> None:
        if self._sum is not None and self._shot is not None:
            self._seen[self._shot] = self._sum.seen()
        self._shot = self._sum = None


class _Sum:
    """Mean and deviation over time of each pixel of a shot."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.count, self.total, self.squares = 0, np.zeros(shape, np.float32), np.zeros(shape, np.float32)

    def add(self, image: NDArray[np.uint8]) -> None:
        self.count += 1
        cv2.accumulate(image, self.total)
        cv2.accumulateSquare(image, self.squares)

    def seen(self) -> _Seen:
        mean = (self.total / self.count).astype(np.float32)
        changes = _strongest(np.sqrt(np.maximum(self.squares / self.count - mean**2, 0)))
        return _Seen(_axis(mean, changes), _axis(mean.transpose(1, 0, 2), changes.T))


@dataclass(frozen=True)
class _Side:
    """A strip at the edge of the frame over a shot."""

    colour: tuple[float, float, float]
    noise: float
    """Levels by which nine tenths of the strip's pixels differ from its colour, or change."""
    even: bool


@dataclass(frozen=True)
class _Axis:
    """What a shot shows along one axis, its lines being rows (or columns) of the frame."""

    size: tuple[int, int]
    sides: tuple[_Side, _Side]
    packed: bytes
    """By pixel, one bit: whether it differs from the bar of its half of the frame."""
    strength: Floats
    """By line: by how many levels its mean differs from the bar."""

    def picture(self, across: Span) -> NDArray[np.bool_]:
        """Where there is picture, lines x pixels, without what is cut away across the lines."""
        lines, length = self.size
        bits = np.frombuffer(zlib.decompress(self.packed), np.uint8)
        return (
            np.unpackbits(bits, count=lines * length)
            .reshape(lines, length)
            .astype(bool)[:, across[0] : length - across[1]]
        )


@dataclass(frozen=True)
class _Seen:
    """A shot summed up."""

    rows: _Axis
    columns: _Axis


def _axis(mean: Floats, changes: Floats) -> _Axis:
    lines, length = changes.shape
    strip = max(2, round(STRIP * lines))
    sides = _side(mean[:strip], changes[:strip]), _side(mean[-strip:], changes[-strip:])
    half = lines // 2
    score = np.empty((lines, length), np.float32)
    margins = np.empty((lines, 1), np.float32)
    for side, part in zip(sides, (slice(0, half), slice(half, lines)), strict=True):
        off = _strongest(np.abs(mean[part] - np.asarray(side.colour, np.float32)))
        score[part] = np.maximum(off, changes[part])
        margins[part] = min(max(LEAST_MARGIN, 1.5 * side.noise + 2), MOST_MARGIN)
    packed = zlib.compress(np.packbits(score > margins).tobytes(), 1)
    return _Axis((lines, length), sides, packed, score.mean(axis=1).astype(np.float32))


def _side(mean: Floats, changes: Floats) -> _Side:
    blue, green, red = (float(np.median(mean[..., channel])) for channel in range(3))
    colour = (blue, green, red)
    off = np.maximum(_strongest(np.abs(mean - np.asarray(colour, np.float32))), changes)
    noise = float(np.percentile(off, 90))
    return _Side(colour, noise, noise <= EVEN)


def _strongest(levels: Floats) -> Floats:
    """The largest of the three channels of each pixel. Along so short an axis, `max` takes five times as long."""
    blue, green, red = (levels[..., channel] for channel in range(3))
    return np.maximum(np.maximum(blue, green), red)


# ---- one shot, one axis


@dataclass(frozen=True)
class _View:
    """What a shot says of the bars along one axis."""

    ends: tuple[int | None, int | None]
    """At either side, the first line that is mostly picture, counted from there; None if none is in its half."""
    sharp: tuple[bool, bool]
    """Whether the picture begins there at once, and all before it is bar."""
    colours: tuple[tuple[float, float, float], tuple[float, float, float]]
    noise: float
    share: tuple[Floats, Floats]
    """By line from either side to the middle: share of pixels that are picture."""

    @property
    def complete(self) -> Span | None:
        """The bars that it shows: each side has none, or one that ends sharply. None if it is too dark to tell."""
        spans = [0 if end == 0 else end if sharp else None for end, sharp in zip(self.ends, self.sharp, strict=True)]
        return None if spans[0] is None or spans[1] is None else (spans[0], spans[1])

    def allows(self, known: _Known) -> bool:
        """Whether these bars have their colour here, and would cut nothing but bar, subtitles and logos away."""
        return all(
            bar == 0
            or (
                float(np.abs(np.subtract(colour, wanted)).max()) <= known.margin
                and float(share[: max(1, bar - SAME)].mean()) <= OVERLAID
            )
            for bar, colour, wanted, share in zip(known.bars, self.colours, known.colours, self.share, strict=True)
        )


@dataclass(frozen=True)
class _Known:
    """Bars that a film has."""

    bars: Span
    colours: tuple[tuple[float, ...], tuple[float, ...]]
    margin: float
    """Levels by which their colour may differ from shot to shot."""


def _known(bars: Span, like: Sequence[_View]) -> _Known:
    """What is known of bars by the shots that show them."""
    low, high = (tuple(np.median([view.colours[side] for view in like], axis=0).tolist()) for side in (0, 1))
    return _Known(bars, (low, high), max(LEAST_MARGIN, float(np.median([view.noise for view in like]))))


def _view(axis: _Axis, across: Span) -> _View:
    lines = axis.size[0]
    support = axis.picture(across).mean(axis=1).astype(np.float32)
    shares, ends, sharp = [], [], []
    for side, share in zip(axis.sides, (support[: lines // 2], support[::-1][: lines // 2]), strict=True):
        known = share if side.even else np.ones_like(share)
        found = np.flatnonzero(known >= LINE)
        end = int(found[0]) if len(found) else None
        shares.append(known)
        ends.append(end)
        sharp.append(end is not None and _is_sharp(known, end, lines))
    colours = axis.sides[0].colour, axis.sides[1].colour
    noise = max(side.noise for side in axis.sides)
    return _View((ends[0], ends[1]), (sharp[0], sharp[1]), colours, noise, (shares[0], shares[1]))


def _is_sharp(share: Floats, end: int, lines: int) -> bool:
    if not THICKNESS[0] <= end <= THICKNESS[1] * lines:
        return False
    before, behind = share[: max(1, end - REACH + 1)], share[end : end + REACH]
    at_edge = share[: max(1, min(end - 1, round(STRIP * lines)))]
    return float(behind.max() - before[-REACH:].max()) >= JUMP and float(at_edge.max()) <= CLEAR


# ---- the whole film


def _judge(seen: dict[int, _Seen]) -> dict[int, Edges]:
    """Rows first; then columns within the rows that are left, and rows again within those columns."""
    shots = sorted(seen)
    none: list[Span] = [(0, 0)] * len(shots)
    rows = _along([seen[shot].rows for shot in shots], none)
    columns = _along([seen[shot].columns for shot in shots], rows)
    if any(map(any, columns)):
        rows = _along([seen[shot].rows for shot in shots], columns)
    result = {}
    for shot, (top, bottom), (left, right) in zip(shots, rows, columns, strict=True):
        height, width = seen[shot].rows.size
        result[shot] = Edges(left / width, top / height, right / width, bottom / height)
    return result


def _along(axes: Sequence[_Axis], across: Sequence[Span]) -> list[Span]:
    """For each shot, the bars along one axis, slightly inwards."""
    views = [_view(axis, span) for axis, span in zip(axes, across, strict=True)]
    known = _established(views)
    chosen = _assign(views, known)
    grown = {bars: _inwards(bars, [axes[i] for i in range(len(axes)) if chosen[i] == bars]) for bars in {*chosen}}
    return [grown[bars] for bars in chosen]


def _established(views: Sequence[_View]) -> list[_Known]:
    """The bars that the film has somewhere, the most frequent first."""
    shown = [(view, bars) for view in views if (bars := view.complete) is not None]
    counts = Counter(bars for _, bars in shown)
    found: list[_Known] = []
    for bars, _ in counts.most_common():
        if not any(bars) or any(_same(bars, other.bars) for other in found):
            continue
        like = [view for view, other in shown if _same(bars, other)]
        known = _known(bars, like)
        if _is_proved(known, like, views, len(shown)):
            found.append(known)
    return found


def _same(bars: Span, other: Span) -> bool:
    return all(abs(a - b) <= SAME for a, b in zip(bars, other, strict=True))


def _is_proved(known: _Known, like: Sequence[_View], views: Sequence[_View], told: int) -> bool:
    """Whether bars seen in some shots are bars, and not a dark picture's edge or a plain ground.

    Args:
        like: the shots that show them.
        views: all shots.
        told: number of those that are bright enough to show where their picture ends.
    """
    low, high = bars = known.bars
    even = abs(low - high) <= max(SAME, 0.1 * max(bars))
    colours = np.asarray([view.colours for view in like])
    sides = [side for side, bar in enumerate(bars) if bar]
    dark = float(colours[:, sides].max()) <= DARK
    everywhere = len(like) >= 0.5 * told and all(view.allows(known) for view in views)
    if dark and even:
        return everywhere or len(like) >= max(2, 0.05 * told)
    clean = float(np.median([view.noise for view in like])) <= CLEAN
    steady = float((colours[:, sides].max(axis=(0, 1)) - colours[:, sides].min(axis=(0, 1))).max()) <= LEAST_MARGIN
    if even:
        return everywhere and steady
    return dark and everywhere and clean and len(like) >= min(3, len(views)) and len(views) > 1


def _assign(views: Sequence[_View], known: Sequence[_Known]) -> list[Span]:
    """The bars of each shot: those it shows, else those of the shots around it as far as its picture allows."""
    chosen = [_shown(view, known) for view in views]
    return [
        _inherited(view, [*_nearest(chosen, place)], known) if (bars := chosen[place]) is None else bars
        for place, view in enumerate(views)
    ]


def _inherited(view: _View, around: Sequence[Span], known: Sequence[_Known]) -> Span:
    """The bars of a dark shot: the smaller of those around it, if none of them would cut into its picture."""
    allowed = all(view.allows(each) for each in known if each.bars in around)
    return min(around, key=sum) if around and allowed else (0, 0)


def _shown(view: _View, known: Sequence[_Known]) -> Span | None:
    """The bars that a shot shows by itself; None if it is too dark to tell."""
    shown = view.complete
    match = [each.bars for each in known if shown is not None and _same(each.bars, shown)]
    if match:
        return match[0]
    return None if shown != (0, 0) and any(view.allows(each) for each in known) else (0, 0)


def _nearest(chosen: Sequence[Span | None], place: int) -> Iterator[Span]:
    """The bars of the nearest shot on either side that shows where its picture ends."""
    for order in (range(place - 1, -1, -1), range(place + 1, len(chosen))):
        for other in order:
            if (bars := chosen[other]) is not None:
                yield bars
                break


def _inwards(bars: Span, axes: Sequence[_Axis]) -> Span:
    """The bars without the lines in which bar and picture are blended, by an encoder also far into the bar."""
    grown = []
    for side, bar in enumerate(bars):
        if not bar:
            grown.append(0)
            continue
        lines = np.median([axis.strength[:: -1 if side else 1][bar : bar + 4 * REACH] for axis in axes], axis=0)
        near, far = float(np.median(lines[REACH : 2 * REACH])), float(np.median(lines[2 * REACH :]))
        faint = [place for place in range(REACH) if lines[place] < FULL * near]
        faint += [place for place in range(2 * REACH) if lines[place] < HALF * far]
        grown.append(bar + max(faint, default=-1) + 1)
    return grown[0], grown[1]
