"""The pen: fills and strokes in units of the drawing, and the colours that all drawings share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]
Floats = NDArray[np.float64]
Points = Sequence[tuple[float, float]]

FILLS: dict[str, Colour] = {
    "red": (226, 52, 48),
    "yellow": (250, 208, 40),
    "green": (58, 178, 74),
    "blue": (46, 116, 230),
    "purple": (146, 70, 206),
    "white": (246, 246, 246),
}
INK: Colour = (44, 36, 52)
WHITE: Colour = (255, 255, 255)
SHIFT = 4  # OpenCV's fixed point: 1/16 px, so slow movement does not jump from pixel to pixel
FINE = 1 << SHIFT
LIMB = 0.2  # lines of this width are limbs and have an outline; whiskers and strings have none
CIRCLE = np.array([(math.cos(a), math.sin(a)) for a in np.linspace(0, math.tau, 32, endpoint=False)])


def shade(colour: Colour, amount: float) -> Colour:
    """Towards black (amount -1 to 0) or white (0 to 1)."""
    goal = 255 if amount > 0 else 0
    r, g, b = (round(c + (goal - c) * abs(amount)) for c in colour)
    return r, g, b


class Pen:
    """Fills shapes given in local units: x to the right, y down; `matrix` and `offset` map them to pixels."""

    def __init__(self, image: NDArray[np.uint8], matrix: Floats, offset: Floats, scale: float) -> None:
        self.image = image
        self.matrix = matrix
        self.offset = offset
        self.scale = scale  # pixels per unit
        self.outline: Colour | None = None
        self.tint: Colour = (0, 0, 0)
        # OpenCV takes whole 1/16 px and has a pixel's middle at integers, with the picture's edge at -0.5;
        # adding half of 1/16 makes the truncation to int32 a rounding
        self.fine_matrix = matrix.T * FINE
        self.fine_offset = (offset - 0.5) * FINE + 0.5

    @classmethod
    def on(cls, image: NDArray[np.uint8], x: float, y: float, scale: float, *, flip: bool = False) -> Pen:
        """A pen centred at pixel (x, y), with `scale` px per unit; if flipped, x runs to the left."""
        return cls(image, np.array([[-scale if flip else scale, 0.0], [0.0, scale]]), np.array([x, y]), scale)

    def at(self, x: float, y: float, scale: float = 1.0, angle: float = 0.0) -> Pen:
        """A pen with units around (x, y) of this one, turned by `angle` (radians, clockwise unless flipped)."""
        cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
        turned = self.matrix @ np.array([[cos, -sin], [sin, cos]])
        pen = Pen(self.image, turned, self.matrix @ (x, y) + self.offset, self.scale * scale)
        pen.outline, pen.tint = self.outline, self.tint
        return pen

    def pixels(self, points: Points | Floats) -> NDArray[np.int32]:
        return (np.asarray(points) @ self.fine_matrix + self.fine_offset).astype(np.int32)

    def colour(self, colour: Colour) -> Colour:
        (r, g, b), (dr, dg, db) = colour, self.tint
        return r + dr, g + dg, b + db  # OpenCV clips to 0..255

    def poly(self, points: Points | Floats, colour: Colour, *, edge: bool = True) -> None:
        pixels = self.pixels(points)
        if self.outline and edge:  # the fill then covers the stroke's inner half
            cv2.polylines(self.image, [pixels], True, self.outline, self.stroke, cv2.LINE_AA, SHIFT)
        cv2.fillPoly(self.image, [pixels], self.colour(colour), cv2.LINE_AA, SHIFT)

    @property
    def stroke(self) -> int:
        return max(2, round(self.scale * 0.13))

    def oval(self, x: float, y: float, rx: float, ry: float, colour: Colour, *, edge: bool = True) -> None:
        if self.outline and edge:  # a larger oval below, a third of the time of a stroked line
            around = self.stroke / 2 / self.scale
            below = self.pixels(CIRCLE * (rx + around, ry + around) + (x, y))
            cv2.fillPoly(self.image, [below], self.outline, cv2.LINE_AA, SHIFT)
        self.poly(CIRCLE * (rx, ry) + (x, y), colour, edge=False)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour, *, edge: bool = True) -> None:
        self.poly(((left, top), (right, top), (right, bottom), (left, bottom)), colour, edge=edge)

    def line(self, points: Points, width: float, colour: Colour) -> None:
        pixels = self.pixels(points)
        thick = max(1, round(width * self.scale))
        if self.outline and width >= LIMB:
            cv2.polylines(self.image, [pixels], False, self.outline, thick + self.stroke, cv2.LINE_AA, SHIFT)
        cv2.polylines(self.image, [pixels], False, self.colour(colour), thick, cv2.LINE_AA, SHIFT)
