"""Lines of text by their shape: thin strokes of one colour, as high as one another, side by side on one base line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Levels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Pixels = tuple[int, int, int, int]
"""Left, top, right, bottom."""

STROKE = 13
"""Pixels, in a picture about 640 wide, that a stroke is at most thick."""
AROUND, RELATIVE = 25, 0.65
"""Pixels around a stroke, and the share of the strongest one there that it has at least: ground shut in by outlines
stands out as well, but less."""
HEIGHTS = (0.014, 0.13)
"""Height of a letter as a share of the picture's; letters that touch one another are taken for one."""
NEXT = 0.9
"""Gap between neighbouring letters or words, as a share of their height."""
ALIKE = 2.6
"""Times that one letter may be as high as its neighbour: capitals and small letters, but not letters and commas."""
LEAST_LETTERS, LEAST_AREA = 2, 5
LEVEL = 0.18
"""Share of a letter's height by which base lines may differ; that many letters of ALIGNED stand on one."""
ALIGNED = 0.55
SPREAD = 28.0
"""Levels by which the brightness of one text's letters may differ (standard deviation)."""
MOST_LETTERS = 1500
"""Of a picture; one with more pieces is foliage or noise."""


def bright(grey: Levels) -> Levels:
    """By how many levels each pixel is brighter than what surrounds its stroke."""
    return np.asarray(cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, _disc()), np.uint8)


def dark(grey: Levels) -> Levels:
    """By how many levels each pixel is darker than what surrounds its stroke."""
    return np.asarray(cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, _disc()), np.uint8)


def slope(grey: Levels) -> tuple[Floats, Floats]:
    """By how many levels per pixel a picture grows brighter to the right, and downwards."""
    soft = cv2.GaussianBlur(grey.astype(np.float32), (3, 3), 0)
    right, down = (cv2.Sobel(soft, cv2.CV_32F, *along, scale=1 / 4) for along in ((1, 0), (0, 1)))
    return np.asarray(right, np.float32), np.asarray(down, np.float32)


def _disc() -> NDArray[np.uint8]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_RECT, (STROKE, STROKE)), np.uint8)


def lines(strokes: Levels, least: float, grey: Levels) -> list[Pixels]:
    """Rectangles of the lines of text among strokes.

    Args:
        strokes: levels by which pixels stand out.
        least: levels from which they are part of a stroke.
        grey: the picture.
    """
    strongest = cv2.dilate(strokes, np.ones((AROUND, AROUND), np.uint8))
    # By the strongest level, 0 to 255; rounded down, which makes no difference to whole levels.
    limits = np.maximum(least, RELATIVE * np.arange(256, dtype=np.float32)).astype(np.uint8)
    letters = _letters(strokes > cv2.LUT(strongest, limits), grey)
    found = []
    for members in _rows(letters):
        if len(members) > 1 and _is_text(letters.part(members)):
            boxes = letters.boxes[members]
            found.append((*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist()))
    return [(left, top, right, bottom) for left, top, right, bottom in found]


@dataclass(frozen=True)
class _Letters:
    boxes: Ints
    """Left, top, right, bottom; one row per letter."""
    levels: Floats
    """Brightness of each."""

    def part(self, members: Sequence[int]) -> _Letters:
        return _Letters(self.boxes[members], self.levels[members])


def _letters(mask: Mask, grey: Levels) -> _Letters:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    sizes = stats[:, cv2.CC_STAT_AREA].astype(np.float64)
    levels = np.bincount(labels[mask], grey[mask].astype(np.float64), count) / np.maximum(sizes, 1)
    left, top, width, tall, area = (stats[:, column].astype(np.int64) for column in range(5))
    height = mask.shape[0]
    good = (tall >= HEIGHTS[0] * height) & (tall <= HEIGHTS[1] * height) & (area >= LEAST_AREA)
    good &= (width <= 12 * tall) & (area <= 0.9 * width * tall + 3 * tall)
    good[0] = False  # the ground
    chosen = np.flatnonzero(good)
    if len(chosen) > MOST_LETTERS:
        chosen = chosen[:0]
    boxes = np.stack([left, top, left + width, top + tall], axis=1)[chosen]
    return _Letters(boxes, levels[chosen].astype(np.float32))


def _rows(letters: _Letters) -> list[list[int]]:
    """Letters that stand side by side."""
    left, top, right, bottom = letters.boxes.T
    tall = bottom - top
    low, high = np.minimum.outer(tall, tall), np.maximum.outer(tall, tall)
    shared = np.minimum.outer(bottom, bottom) - np.maximum.outer(top, top)
    gap = np.maximum.outer(left, left) - np.minimum.outer(right, right)
    near = (shared >= 0.5 * low) & (gap <= NEXT * high) & (high <= ALIKE * low)
    near &= np.abs(np.subtract.outer(letters.levels, letters.levels)) <= 2 * SPREAD
    waiting, rows = set(range(len(tall))), []
    while waiting:
        row, edge = [], [waiting.pop()]
        while edge:
            row.append(edge.pop())
            fresh = waiting.intersection(np.flatnonzero(near[row[-1]]).tolist())
            waiting -= fresh
            edge += fresh
        rows.append(sorted(row))
    return rows


def _is_text(row: _Letters) -> bool:
    left, top, right, bottom = row.boxes.T
    tall = bottom - top
    usual = float(np.median(tall))
    width, height = int(right.max() - left.min()), int(bottom.max() - top.min())
    # Letters that touch one another count by their width: one is about half as wide as high.
    count = float(np.maximum(1, np.round((right - left) / (0.9 * np.maximum(tall, 1)))).sum())
    if count < LEAST_LETTERS or width < height or height > 2.2 * usual + 4:
        return False
    if float(row.levels.std()) > SPREAD:
        return False
    slack = max(1.5, LEVEL * usual)
    return float((np.abs(np.subtract.outer(bottom, bottom)) <= slack).mean(axis=1).max()) >= ALIGNED
