"""One scene, at one moment, as a picture: a flat illustration of a place, a character and what it holds.

Three layers, each in units of its own so that one drawing serves every frame and shot size:
the place in wide-shot frame heights around the middle of the horizon, the figure in head radii around its head, the
prop in half its height around its middle. A closer shot magnifies all three, so a cut inside one place shows.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from miniature.world import Scene

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
    """Fills shapes given in local units: x to the right, y down, as `matrix` and `offset` take them to pixels."""

    def __init__(self, image: NDArray[np.uint8], matrix: Floats, offset: Floats, scale: float) -> None:
        self.image = image
        self.matrix = matrix
        self.offset = offset
        self.scale = scale  # pixels a unit
        self.outline: Colour | None = None
        self.tint: Colour = (0, 0, 0)
        # OpenCV wants whole 1/16 px and has a pixel's middle at whole numbers, where the picture's edge is at -0.5;
        # the half of a 1/16 makes the cut to int32 a rounding
        self.fine_matrix = matrix.T * FINE
        self.fine_offset = (offset - 0.5) * FINE + 0.5

    @classmethod
    def on(cls, image: NDArray[np.uint8], x: float, y: float, scale: float, *, flip: bool = False) -> Pen:
        """Around pixel (x, y), `scale` px a unit; flipped, x runs to the left."""
        return cls(image, np.array([[-scale if flip else scale, 0.0], [0.0, scale]]), np.array([x, y]), scale)

    def at(self, x: float, y: float, scale: float = 1.0, angle: float = 0.0) -> Pen:
        """A pen for units around (x, y) here, turned by `angle` (radians, clockwise unless flipped)."""
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


# ---- places: unit 1 is the frame's height in a wide shot, (0, 0) the middle of the horizon; +-0.36 is in every shot


def backdrop(pen: Pen, high: Colour, low: Colour, ground: Colour) -> None:
    """Sky from `high` to `low` down to the horizon, and the ground below."""
    height, width = pen.image.shape[:2]
    horizon = float(pen.offset[1])
    mix = np.clip(np.arange(height) / horizon, 0, 1)[:, None]
    column = np.array(pen.colour(high)) * (1 - mix) + np.array(pen.colour(low)) * mix
    column[round(horizon) :] = pen.colour(ground)
    # seven times as fast as numpy's broadcast, which copies three bytes at a time
    rows = column.clip(0, 255).astype(np.uint8)[:, None]
    cv2.resize(rows, (width, height), pen.image, interpolation=cv2.INTER_NEAREST)


def clouds(pen: Pen, rng: random.Random, time: float, colour: Colour) -> None:
    for x in (-0.75, -0.3, 0.3, 0.75):
        pen_at = pen.at(x + rng.uniform(-0.12, 0.12) + 0.02 * time, rng.uniform(-0.52, -0.34), rng.uniform(0.7, 1.1))
        for dx, dy, rx, ry in ((-0.07, 0.01, 0.06, 0.028), (0.0, -0.015, 0.07, 0.045), (0.08, 0.01, 0.06, 0.025)):
            pen_at.oval(dx, dy, rx, ry, colour)


def beach(pen: Pen, rng: random.Random, time: float) -> None:
    backdrop(pen, (86, 190, 246), (214, 242, 255), (252, 226, 160))
    clouds(pen, rng, time, WHITE)
    pen.oval(0.6, -0.42, 0.09, 0.09, (255, 232, 110))
    shore = [(x / 10, 0.09 + 0.012 * math.sin(x * 1.3 + 2 * time)) for x in range(13, -14, -1)]
    pen.poly([(-1.3, -0.08), (1.3, -0.08), *[(x, y + 0.02) for x, y in shore]], WHITE)
    pen.poly([(-1.3, -0.08), (1.3, -0.08), *shore], (24, 142, 190))
    for x in (-0.62, 0.2):
        boat = pen.at(x + 0.01 * time, -0.05, 1.0, 0.04 * math.sin(2 * time + x))
        boat.poly(((0.0, -0.15), (0.0, -0.02), (0.09, -0.02)), WHITE)
        boat.poly(((-0.07, 0.0), (0.1, 0.0), (0.07, 0.03), (-0.04, 0.03)), (200, 60, 60))
    for x, lean, tall in ((-0.37, -0.02, -0.2), (0.36, 0.04, -0.21), (-0.92, 0.05, -0.3), (0.86, -0.04, -0.28)):
        sway = 0.012 * math.sin(1.6 * time + 9 * x)
        top = (x + lean + sway, tall)
        pen.line(((x, 0.16), (x + lean * 0.3, -0.06), top), 0.035, (150, 98, 52))
        for turn in (-2.75, -2.0, -1.1, -0.35, 0.35, 2.8):
            leaf = pen.at(*top, 1.0, turn + 4 * sway)
            leaf.poly(((0, 0), (0.07, -0.035), (0.17, 0.01), (0.07, 0.012)), (28, 140, 72))


def forest(pen: Pen, rng: random.Random, time: float) -> None:
    backdrop(pen, (150, 205, 160), (226, 240, 200), (86, 134, 62))
    for i in range(-8, 9):
        x, tall = i * 0.13 + rng.uniform(-0.03, 0.03), rng.uniform(0.26, 0.4)
        pen.poly(((x - 0.09, 0.01), (x, -tall), (x + 0.09, 0.01)), (116, 168, 112))
    for x in (-1.02, -0.68, -0.37, 0.37, 0.7, 1.05):
        tree = pen.at(x + rng.uniform(-0.02, 0.02), 0.08, rng.uniform(0.95, 1.1), 0.012 * math.sin(time + 7 * x))
        tree.box(-0.022, -0.1, 0.022, 0.02, (98, 66, 42))
        for base, tall, wide in ((-0.06, 0.22, 0.145), (-0.19, 0.2, 0.115), (-0.31, 0.18, 0.08)):
            tree.poly(((-wide, base), (0, base - tall), (wide, base)), shade((22, 92, 58), -0.3 - base))
    for x in (-0.52, -0.24, 0.28, 0.55):
        pen.box(x - 0.01, 0.1, x + 0.01, 0.15, (250, 240, 220))
        pen.poly(((x - 0.04, 0.11), (x - 0.02, 0.08), (x + 0.02, 0.08), (x + 0.04, 0.11)), (212, 62, 50))


def city(pen: Pen, rng: random.Random, time: float) -> None:
    backdrop(pen, (150, 182, 212), (232, 228, 222), (92, 94, 104))
    clouds(pen, rng, time, (240, 242, 246))
    pen.box(-1.3, 0.0, 1.3, 0.05, (176, 174, 172))
    for i in range(-5, 6):
        x, tall = i * 0.22 + rng.uniform(-0.03, 0.03), rng.uniform(0.26, 0.36)
        pen.box(x - 0.1, -tall, x + 0.1, 0.0, (168, 186, 204))
    for x, tall, wide, colour in (
        (-0.37, 0.42, 0.1, (86, 104, 140)), (0.37, 0.36, 0.11, (150, 92, 84)), (-0.66, 0.3, 0.12, (130, 120, 128)),
        (0.68, 0.46, 0.11, (74, 92, 122)), (-0.97, 0.44, 0.12, (150, 92, 84)), (0.98, 0.32, 0.12, (110, 116, 140)),
    ):  # fmt: skip
        pen.box(x - wide, -tall, x + wide, 0.01, colour)
        for row in range(int(tall / 0.08)):
            for column in (-0.6, 0.0, 0.6):
                window = rng.choice(((255, 224, 120), (255, 224, 120), shade(colour, -0.35)))
                left, top = x + column * wide, 0.03 - tall + row * 0.08
                pen.box(left - 0.02, top, left + 0.02, top + 0.045, window)
    for i in range(-4, 5):
        pen.box(i * 0.3 - 0.07, 0.15, i * 0.3 + 0.07, 0.17, (240, 236, 220))


def desert(pen: Pen, rng: random.Random, time: float) -> None:
    backdrop(pen, (250, 150, 78), (255, 226, 160), (236, 172, 92))
    pen.oval(0.2, -0.3, 0.11, 0.11, (255, 244, 206))
    clouds(pen, rng, time, (255, 206, 150))
    for x in (-0.7, 0.55):
        pen.poly(((x - 0.2, 0), (x - 0.13, -0.17), (x + 0.12, -0.17), (x + 0.2, 0)), (196, 96, 62))
    for x, tall in ((-0.85, 0.09), (0.0, 0.07), (0.8, 0.1)):
        pen.oval(x + rng.uniform(-0.05, 0.05), 0.06, 0.55, tall, (222, 146, 70))
    for x in (-0.37, 0.37, -0.9, 0.88):
        cactus = pen.at(x, 0.11, rng.uniform(0.95, 1.1), 0.01 * math.sin(time + 5 * x))
        for way, low in ((-1, -0.17), (1, -0.12)):
            cactus.line(((0, low), (way * 0.1, low), (way * 0.1, low - 0.11)), 0.045, (34, 122, 74))
        cactus.line(((0, 0.0), (0, -0.38)), 0.075, (42, 138, 82))
        cactus.line(((0.012, -0.02), (0.012, -0.37)), 0.012, (110, 186, 120))


def mountains(pen: Pen, rng: random.Random, time: float) -> None:
    backdrop(pen, (120, 172, 226), (220, 234, 248), (238, 244, 252))
    for x, tall, wide in (
        (-0.8, 0.44, 0.34),
        (0.0, 0.34, 0.34),
        (0.84, 0.46, 0.34),
        (-0.37, 0.26, 0.2),
        (0.38, 0.27, 0.21),
    ):
        peak = pen.at(x + rng.uniform(-0.03, 0.03), 0.0)
        peak.poly(((-wide, 0.02), (0, -tall), (wide, 0.02)), (104, 124, 164))
        peak.poly(((0, -tall), (wide, 0.02), (wide * 0.15, 0.02)), (82, 100, 142))
        cap = wide * 0.42
        edge = -tall * 0.58
        jagged = ((cap * 0.4, edge - 0.04), (0, edge + 0.03), (-cap * 0.5, edge - 0.03))
        peak.poly(((-cap, edge), (0, -tall), (cap, edge), *jagged), WHITE)
    for x in (-0.56, -0.22, 0.24, 0.6):
        for base, wide in ((0.1, 0.06), (0.04, 0.045)):
            pen.poly(((x - wide, base), (x, base - 0.12), (x + wide, base)), (58, 104, 112))
            pen.poly(((x - wide * 0.5, base - 0.06), (x, base - 0.12), (x + wide * 0.5, base - 0.06)), WHITE)
    for _ in range(30):
        x, y, fall = rng.uniform(-1.1, 1.1), rng.random(), rng.uniform(0.1, 0.16)
        pen.oval(x + 0.02 * math.sin(time + 20 * x), -0.62 + (y + fall * time) % 1.0, 0.008, 0.008, WHITE)


def kitchen(pen: Pen, rng: random.Random, time: float) -> None:
    backdrop(pen, (255, 238, 190), (255, 228, 166), (206, 132, 92))
    for i in range(-6, 7):
        pen.line(((i * 0.18, -0.7), (i * 0.18, 0.0)), 0.006, (240, 206, 140))
        pen.line(((i * 0.18, 0.1), (i * 0.5, 1.0)), 0.006, (176, 104, 70))
    for y in (-0.54, -0.36, -0.18):
        pen.line(((-1.3, y), (1.3, y)), 0.006, (240, 206, 140))
    pen.box(-1.3, -0.08, 1.3, 0.12, (92, 168, 160))
    for i in range(-5, 6):
        pen.box(i * 0.22 - 0.09, -0.03, i * 0.22 + 0.09, 0.1, (122, 194, 184))
    pen.box(-1.3, -0.1, 1.3, -0.07, (250, 246, 238))
    for x in (-0.37, 0.85):  # stove with a steaming pot
        pen.box(x - 0.13, -0.1, x + 0.13, 0.13, (70, 74, 84))
        pen.box(x - 0.09, -0.02, x + 0.09, 0.1, (255, 166, 70))
        pen.box(x - 0.085, -0.22, x + 0.085, -0.11, (206, 58, 54))
        pen.box(x - 0.11, -0.19, x + 0.11, -0.17, (206, 58, 54))
        for puff in (0.0, 0.5):
            rise = (time * 0.4 + puff + rng.random()) % 1.0
            pen.oval(x + 0.02 * math.sin(6 * rise), -0.25 - 0.16 * rise, 0.03, 0.03, WHITE)
    for x in (0.38, -0.88):  # fridge
        pen.box(x - 0.12, -0.42, x + 0.12, 0.13, (216, 232, 238))
        pen.line(((x - 0.12, -0.2), (x + 0.12, -0.2)), 0.012, (150, 172, 184))
        for top, bottom in ((-0.32, -0.24), (-0.16, -0.04)):
            pen.line(((x - 0.085, top), (x - 0.085, bottom)), 0.016, (120, 140, 154))


def library(pen: Pen, rng: random.Random, time: float) -> None:
    backdrop(pen, (84, 56, 48), (112, 74, 56), (150, 62, 58))
    covers = ((196, 64, 56), (60, 112, 150), (222, 176, 74), (70, 134, 96), (226, 214, 190), (122, 76, 130))
    for x in (-0.84, -0.37, 0.37, 0.84):
        pen.box(x - 0.2, -0.56, x + 0.2, 0.07, (164, 110, 62))
        for shelf in (-0.4, -0.25, -0.1, 0.05):
            pen.box(x - 0.18, shelf - 0.135, x + 0.18, shelf, (66, 42, 34))
            left = x - 0.175
            while left < x + 0.14:
                wide, tall = rng.uniform(0.03, 0.05), rng.uniform(0.09, 0.125)
                pen.box(left, shelf - tall, left + wide - 0.006, shelf, rng.choice(covers))
                left += wide
    pen.box(-1.3, 0.07, 1.3, 0.085, (206, 150, 84))
    glow = 0.012 * math.sin(2 * time)
    pen.line(((0, -0.8), (0, -0.42)), 0.012, INK)
    pen.oval(0, -0.4, 0.1 + glow, 0.06 + glow, (255, 222, 140))


def moon(pen: Pen, rng: random.Random, time: float) -> None:
    backdrop(pen, (16, 18, 52), (50, 48, 100), (180, 180, 192))
    for _ in range(34):
        x, y, size = rng.uniform(-1.1, 1.1), rng.uniform(-0.64, -0.05), rng.uniform(0.004, 0.009)
        size *= 1 + 0.3 * math.sin(3 * time + 40 * x)
        pen.oval(x, y, size, size, (255, 250, 214))
    pen.oval(0.4, -0.24, 0.1, 0.1, (66, 142, 226))
    for x, y, rx, ry in ((0.37, -0.28, 0.04, 0.03), (0.43, -0.22, 0.045, 0.035), (0.36, -0.2, 0.02, 0.015)):
        pen.oval(x, y, rx, ry, (92, 190, 106))
    for i in range(-4, 5):
        x, y = i * 0.28 + rng.uniform(-0.05, 0.05), rng.uniform(0.05, 0.2)
        wide = rng.uniform(0.06, 0.11)
        pen.oval(x, y, wide, wide * 0.32, (136, 136, 152))
        pen.oval(x, y + 0.008, wide * 0.85, wide * 0.24, (156, 156, 170))
    for x in (-0.37, 0.9):
        rocket = pen.at(x, 0.06 + 0.004 * math.sin(5 * time))
        for way in (-1, 1):
            rocket.poly(((way * 0.05, -0.14), (way * 0.12, 0.02), (way * 0.04, -0.03)), (222, 70, 60))
        rocket.poly(((-0.065, -0.02), (-0.08, -0.2), (0, -0.42), (0.08, -0.2), (0.065, -0.02)), (236, 238, 244))
        rocket.poly(((-0.052, -0.28), (0, -0.42), (0.052, -0.28)), (222, 70, 60))
        rocket.oval(0, -0.19, 0.036, 0.036, (80, 170, 220))


def farm(pen: Pen, rng: random.Random, time: float) -> None:
    backdrop(pen, (112, 196, 248), (216, 240, 250), (132, 196, 76))
    clouds(pen, rng, time, WHITE)
    for x in (-0.8, 0.0, 0.8):
        pen.oval(x + rng.uniform(-0.08, 0.08), 0.06, 0.6, 0.15, (98, 170, 76))
    pen.box(-1.3, 0.05, 1.3, 2.0, (236, 204, 88))
    for i in range(-7, 8):
        pen.line(((i * 0.1, 0.05), (i * 0.6, 1.0)), 0.014, (204, 166, 60))
    for x in (-0.38, 0.92):  # barn
        barn, roof = pen.at(x, 0), ((-0.165, -0.13), (-0.1, -0.245), (0, -0.31), (0.1, -0.245), (0.165, -0.13))
        barn.poly(((-0.15, 0.1), *roof, (0.15, 0.1)), (182, 48, 44))
        barn.line(roof, 0.026, WHITE)
        barn.box(-0.07, -0.06, 0.07, 0.1, (120, 30, 34))
        for way in (-1, 1):
            barn.line(((-way * 0.07, -0.06), (way * 0.07, 0.1)), 0.016, WHITE)
        barn.box(-0.03, -0.2, 0.03, -0.14, WHITE)
    for x in (0.37, -0.88):  # windmill
        pen.poly(((x - 0.07, 0.1), (x - 0.04, -0.22), (x + 0.04, -0.22), (x + 0.07, 0.1)), (222, 214, 200))
        for quarter in range(4):
            sail = pen.at(x, -0.22, 1.0, time * 0.9 + quarter * math.pi / 2)
            sail.box(0.02, -0.03, 0.16, 0.005, (250, 250, 250))
            sail.line(((0, 0), (0.16, 0)), 0.01, (124, 88, 60))


def castle(pen: Pen, rng: random.Random, time: float) -> None:
    backdrop(pen, (98, 78, 160), (246, 176, 186), (96, 142, 104))
    clouds(pen, rng, time, (236, 164, 196))
    pen.box(-0.8, -0.1, 0.8, 0.06, (150, 148, 172))
    for i in range(-8, 9):
        pen.box(i * 0.1 - 0.028, -0.14, i * 0.1 + 0.028, -0.09, (150, 148, 172))
    pen.oval(0, -0.02, 0.08, 0.1, (92, 62, 60))
    for x, tall in ((-0.37, 0.13), (0.37, 0.15), (-0.82, 0.36), (0.82, 0.32)):
        pen.box(x - 0.1, -tall, x + 0.1, 0.08, (178, 176, 196))
        pen.box(x + 0.04, -tall, x + 0.1, 0.08, (154, 152, 176))
        pen.poly(((x - 0.13, -tall), (x, -tall - 0.17), (x + 0.13, -tall)), (52, 74, 156))
        for y in (-tall + 0.04, -tall + 0.16):
            pen.box(x - 0.025, y, x + 0.02, y + 0.07, (255, 226, 120))
        wave = 0.015 * math.sin(5 * time + 9 * x)
        pen.poly(((x, -tall - 0.24), (x + 0.09, -tall - 0.21 + wave), (x, -tall - 0.17)), (240, 90, 120))
    for x in (-0.6, -0.2, 0.2, 0.6):
        pen.oval(x + rng.uniform(-0.04, 0.04), 0.1, 0.08, 0.045, (58, 112, 78))


PLACE: dict[str, Callable[[Pen, random.Random, float], None]] = {
    f.__name__: f for f in (beach, forest, city, desert, mountains, kitchen, library, moon, farm, castle)
}

# ---- figures: unit 1 is the head's radius, (0, 0) its middle; the feet stand at y = 3.3


@dataclass(frozen=True)
class Look:
    """A character's colours, and how far its eyes are open (0.1 to 1)."""

    fill: Colour
    dark: Colour
    pale: Colour
    eyes: float


def eyes(pen: Pen, look: Look, x: float = 0.4, y: float = -0.12, size: float = 0.17) -> None:
    for way in (-1, 1):
        pen.oval(way * x, y, size, size * 1.25 * look.eyes, INK, edge=False)
        pen.oval(
            way * x + size * 0.3, y - size * 0.45 * look.eyes, size * 0.33, size * 0.33 * look.eyes, WHITE, edge=False
        )


def smile(pen: Pen, y: float, wide: float, deep: float = 0.14) -> None:
    pen.line([(wide * t / 3, y + deep * (1 - (t / 3) ** 2)) for t in range(-3, 4)], 0.09, INK)


def rabbit(pen: Pen, look: Look) -> None:
    for way in (-1, 1):
        ear = pen.at(way * 0.62, -1.3, 1.0, way * 0.28)
        ear.oval(0, 0, 0.3, 0.85, look.fill)
        ear.oval(0, 0.02, 0.14, 0.6, (255, 176, 190), edge=False)
    pen.oval(0, 0, 1, 0.95, look.fill)
    eyes(pen, look)
    pen.box(-0.14, 0.4, 0.14, 0.72, WHITE, edge=False)
    pen.line(((0, 0.42), (0, 0.7)), 0.05, INK)
    smile(pen, 0.3, 0.32)
    pen.oval(0, 0.2, 0.14, 0.1, (240, 110, 140), edge=False)


def bear(pen: Pen, look: Look) -> None:
    for way in (-1, 1):
        pen.oval(way * 0.85, -0.72, 0.42, 0.42, look.fill)
        pen.oval(way * 0.85, -0.72, 0.22, 0.22, look.dark, edge=False)
    pen.oval(0, 0, 1.08, 0.98, look.fill)
    eyes(pen, look, 0.42, -0.18)
    pen.oval(0, 0.4, 0.5, 0.38, (248, 222, 180), edge=False)
    pen.oval(0, 0.24, 0.22, 0.16, INK, edge=False)
    smile(pen, 0.48, 0.22)


def cat(pen: Pen, look: Look) -> None:
    for way in (-1, 1):
        pen.poly(((way * 0.3, -0.8), (way * 1.02, -1.45), (way * 1.0, -0.2)), look.fill)
        pen.poly(((way * 0.5, -0.78), (way * 0.88, -1.15), (way * 0.9, -0.45)), (255, 170, 180), edge=False)
    pen.oval(0, 0, 1.08, 0.9, look.fill)
    eyes(pen, look)
    pen.poly(((-0.13, 0.14), (0.13, 0.14), (0, 0.28)), (240, 110, 140), edge=False)
    smile(pen, 0.34, 0.3)
    for way in (-1, 1):
        for y in (0.1, 0.32):
            pen.line(((way * 0.6, 0.2 + y * 0.3), (way * 1.5, y)), 0.06, INK)


def elephant(pen: Pen, look: Look) -> None:
    for way in (-1, 1):
        pen.oval(way * 1.2, -0.1, 0.7, 0.92, look.fill)
        pen.oval(way * 1.24, -0.08, 0.46, 0.66, look.dark, edge=False)
    pen.oval(0, 0, 0.95, 0.98, look.fill)
    eyes(pen, look, 0.42, -0.2)
    for way in (-1, 1):
        pen.poly(((way * 0.3, 0.5), (way * 0.62, 0.45), (way * 0.6, 0.95)), WHITE)
    pen.line(((0, 0.2), (0, 0.75), (0.05, 1.05), (0.3, 1.25), (0.6, 1.12)), 0.4, look.fill)
    for y in (0.45, 0.7):
        pen.line(((-0.16, y), (0.16, y)), 0.06, look.dark)


def duck(pen: Pen, look: Look) -> None:
    for turn in (-0.5, 0.0, 0.5):
        pen.at(0.35 * turn, -1.05, 1.0, turn).oval(0, 0, 0.13, 0.35, look.fill)
    pen.oval(0, 0, 0.98, 0.98, look.fill)
    eyes(pen, look, 0.36, -0.25)
    pen.oval(0, 0.42, 0.82, 0.3, (255, 150, 30))
    pen.line(((-0.72, 0.42), (0, 0.5), (0.72, 0.42)), 0.06, (170, 80, 10))


def robot(pen: Pen, look: Look) -> None:
    pen.line(((0, -0.9), (0, -1.5)), 0.12, (150, 160, 172))
    pen.oval(0, -1.6, 0.2, 0.2, (255, 90, 60))
    for way in (-1, 1):
        pen.box(way * 1.0, -0.25, way * 1.25, 0.3, (150, 160, 172))
    pen.box(-1.02, -0.9, 1.02, 0.88, look.fill)
    pen.box(-0.78, -0.55, 0.78, 0.2, (40, 48, 66), edge=False)
    for way in (-1, 1):
        pen.box(
            way * 0.38 - 0.17,
            -0.18 - 0.2 * look.eyes,
            way * 0.38 + 0.17,
            -0.18 + 0.2 * look.eyes,
            (110, 240, 250),
            edge=False,
        )
    pen.box(-0.5, 0.42, 0.5, 0.68, (210, 216, 224), edge=False)
    for x in (-0.25, 0.0, 0.25):
        pen.line(((x, 0.42), (x, 0.68)), 0.06, INK)


def frog(pen: Pen, look: Look) -> None:
    for way in (-1, 1):
        pen.oval(way * 0.94, -0.64, 0.46, 0.46, look.fill)
    pen.oval(0, 0.08, 1.3, 0.85, look.fill)
    for way in (-1, 1):
        pen.oval(way * 0.95, -0.66, 0.32, 0.32, WHITE, edge=False)
        pen.oval(way * 0.95 + 0.06, -0.64, 0.17, 0.2 * look.eyes, INK, edge=False)
    pen.line([(0.95 * t / 4, 0.22 + 0.3 * (1 - (t / 4) ** 2)) for t in range(-4, 5)], 0.11, INK)
    for way in (-1, 1):
        pen.oval(way * 0.85, 0.12, 0.18, 0.12, (255, 140, 150), edge=False)


def lion(pen: Pen, look: Look) -> None:
    ring = [(math.sin(i * math.tau / 28) * r, -math.cos(i * math.tau / 28) * r)
            for i, r in enumerate((1.58, 1.32) * 14)]  # fmt: skip
    pen.poly(ring, look.dark)
    for way in (-1, 1):
        pen.oval(way * 0.72, -0.75, 0.3, 0.3, look.fill)
    pen.oval(0, 0, 0.95, 0.92, look.fill)
    eyes(pen, look, 0.38, -0.18)
    pen.oval(0, 0.38, 0.46, 0.34, look.pale, edge=False)
    pen.poly(((-0.2, 0.14), (0.2, 0.14), (0, 0.36)), INK, edge=False)
    smile(pen, 0.42, 0.26)


KIND: dict[str, Callable[[Pen, Look], None]] = {
    f.__name__: f for f in (rabbit, bear, cat, elephant, duck, robot, frog, lion)
}
CAPE: Colour = (232, 24, 132)


def body(pen: Pen, kind: str, look: Look, swing: float) -> None:
    """Tail, legs, torso and the free arm; `swing` is -1 to 1."""
    if kind in ("cat", "lion"):
        tail = [(-0.6, 2.7), (-1.5, 2.6), (-1.75, 1.9 + 0.15 * swing), (-1.6 + 0.15 * swing, 1.35)]
        pen.line(tail, 0.3, look.fill)
        if kind == "lion":
            pen.oval(*tail[-1], 0.32, 0.36, look.dark)
    foot = (255, 150, 30) if kind == "duck" else look.fill
    for way in (-1, 1):
        pen.line(((way * 0.45, 2.6), (way * 0.48, 3.1)), 0.5, foot)
        pen.oval(way * 0.58, 3.2, 0.45, 0.2, foot)
    pen.line(((-0.75, 1.35), (-1.2, 1.8), (-1.3 - 0.1 * swing, 2.3)), 0.42, look.fill)
    if kind == "robot":
        pen.box(-0.9, 0.95, 0.9, 2.75, look.fill)
        pen.box(-0.55, 1.5, 0.55, 2.3, (210, 216, 224), edge=False)
        for x, colour in ((-0.3, (240, 70, 60)), (0.0, (250, 200, 40)), (0.3, (70, 190, 90))):
            pen.oval(x, 1.9, 0.13, 0.13, colour, edge=False)
    else:
        pen.oval(0, 1.85, 0.98, 1.12, look.fill)
        pen.oval(0, 2.05, 0.62, 0.75, look.pale, edge=False)


def cape(pen: Pen, swing: float) -> None:
    """Behind the figure: a high collar for close-ups, wings for the rest."""
    for way in (-1, 1):
        wing = way * (1.75 + 0.12 * swing * way)
        pen.poly(((0, 0.8), (way * 0.7, 0.75), (way * 1.65, 0.05), (way * 1.5, 1.0), (wing, 2.9), (0, 2.9)), CAPE)


def wear(pen: Pen, worn: str, kind: str, swing: float) -> None:
    """What lies in front of the figure: hat, scarf, crown, and the cape's clasp."""
    top, wide = {"frog": (-0.68, 0.8), "lion": (-0.95, 1.0)}.get(kind, (-0.82, 1.0))
    if worn == "hat":
        hat = pen.at(0, top, wide, 0.03 * swing)
        hat.box(-0.58, -1.12, 0.58, 0.05, (30, 30, 36))
        hat.box(-0.58, -0.38, 0.58, -0.1, WHITE, edge=False)
        hat.oval(0, 0.05, 1.0, 0.17, (30, 30, 36))
    elif worn == "crown":
        crown = pen.at(0, top, wide, 0.03 * swing)
        points = ((-0.85, -0.8), (-0.4, -0.36), (0, -0.98), (0.4, -0.36), (0.85, -0.8))
        crown.poly(((-0.7, 0.1), *points, (0.7, 0.1)), (255, 186, 0))
        crown.box(-0.7, -0.1, 0.7, 0.1, (214, 130, 0), edge=False)
        for x, y in points[::2]:
            crown.oval(x, y, 0.13, 0.13, (230, 30, 80), edge=False)
    elif worn == "scarf":
        pen.poly(((0.35, 0.95), (0.85, 0.95), (0.95 + 0.1 * swing, 2.3), (0.45 + 0.1 * swing, 2.3)), WHITE)
        for y in (1.35, 1.85):
            pen.box(0.42, y, 0.88, y + 0.26, (240, 110, 20), edge=False)
        pen.poly(((-1.0, 0.72), (0, 1.0), (1.0, 0.72), (1.02, 1.16), (0, 1.46), (-1.02, 1.16)), WHITE)
        for x in (-0.85, -0.32, 0.22, 0.72):
            y = 0.74 + 0.28 * (1 - abs(x))
            pen.poly(((x, y), (x + 0.22, y), (x + 0.24, y + 0.42), (x + 0.02, y + 0.42)), (240, 110, 20), edge=False)
    else:
        pen.poly(((-0.8, 0.72), (0, 1.0), (0.8, 0.72), (0.85, 0.98), (0, 1.3), (-0.85, 0.98)), CAPE)
        pen.oval(0, 1.14, 0.2, 0.2, (255, 206, 60))


# ---- props: unit 1 is half the prop's height, (0, 0) its middle; the hand holds it at (0, 1)


def kite(pen: Pen, turn: float) -> None:
    pen.line(((0, 1.0), (0.1, 0.6), (0, 0.35)), 0.04, INK)
    top = pen.at(0.0, -0.35, 1.0, 0.25 + 0.2 * math.sin(turn))
    top.poly(((0, -0.8), (0.68, -0.1), (0, 0.85), (-0.68, -0.1)), (255, 210, 50))
    top.poly(((0, -0.8), (0.68, -0.1), (0, -0.1)), (235, 60, 60), edge=False)
    top.poly(((0, 0.85), (-0.68, -0.1), (0, -0.1)), (60, 140, 230), edge=False)
    tail = [(0.05 + 0.12 * math.sin(turn * 2 + t), 0.85 + 0.22 * t) for t in range(4)]
    top.line(tail, 0.05, INK)
    for x, y in tail[1:]:
        bow = ((x - 0.16, y - 0.09), (x + 0.16, y + 0.09), (x + 0.16, y - 0.09), (x - 0.16, y + 0.09))
        top.poly(bow, (235, 60, 60), edge=False)


def balloon(pen: Pen, turn: float) -> None:
    sway = 0.1 * math.sin(turn)
    pen.line(((0, 1.0), (0.08 - sway, 0.7), (sway, 0.35)), 0.05, INK)
    pen.poly(((sway - 0.12, 0.46), (sway, 0.3), (sway + 0.12, 0.46)), (255, 110, 150))
    pen.oval(sway, -0.3, 0.62, 0.7, (255, 110, 150))
    pen.at(sway - 0.22, -0.56, 1.0, 0.4).oval(0, 0, 0.13, 0.2, (255, 214, 226), edge=False)


def guitar(pen: Pen, turn: float) -> None:
    held = pen.at(0, 0.15, 1.0, 0.5 + 0.08 * math.sin(turn * 2))
    held.box(-0.09, -1.2, 0.09, 0.0, (110, 66, 36))
    held.box(-0.17, -1.4, 0.17, -1.12, (70, 40, 26))
    held.oval(0, 0.12, 0.42, 0.36, (240, 164, 66))
    held.oval(0, 0.58, 0.56, 0.46, (240, 164, 66))
    held.oval(0, 0.14, 0.4, 0.34, (240, 164, 66), edge=False)
    held.oval(0, 0.28, 0.17, 0.17, INK, edge=False)
    held.line(((0, -1.1), (0, 0.7)), 0.04, (250, 236, 200))


def book(pen: Pen, turn: float) -> None:
    held = pen.at(0, 0.15, 1.0, 0.05 * math.sin(turn))
    for way in (-1, 1):
        held.poly(((0, 0.66), (0, -0.4), (way * 0.98, -0.6), (way * 0.98, 0.5)), (30, 110, 120))
        held.poly(((0, 0.52), (0, -0.44), (way * 0.86, -0.62), (way * 0.86, 0.36)), (255, 252, 236), edge=False)
        for y in (-0.3, -0.08, 0.14):
            held.line(((way * 0.16, y), (way * 0.72, y - 0.12)), 0.07, (120, 126, 140))
    page = math.cos(turn * 2)
    held.poly(((0, 0.52), (0, -0.44), (page * 0.8, -0.7), (page * 0.8, 0.3)), (236, 230, 206), edge=False)
    held.line(((0, -0.44), (0, 0.64)), 0.05, INK)


def umbrella(pen: Pen, turn: float) -> None:
    held = pen.at(0, 0, 1.0, 0.1 * math.sin(turn))
    held.line(((0, -0.9), (0, 0.82), (0.08, 0.97), (0.24, 0.92), (0.26, 0.78)), 0.1, INK)
    dome = [(math.cos(a) * 1.05, -0.05 - math.sin(a) * 0.82) for a in np.linspace(0, math.pi, 19)]
    held.poly([*dome, (-0.7, -0.18), (-0.35, -0.02), (0, -0.18), (0.35, -0.02), (0.7, -0.18)], (30, 190, 190))
    for left, right in ((-0.7, -0.35), (0.35, 0.7)):
        stripe = ((0, -0.87), (left * 1.1, -0.6), (left, -0.15), (right, -0.15), (right * 1.1, -0.6))
        held.poly(stripe, (255, 244, 220), edge=False)


def icecream(pen: Pen, turn: float) -> None:
    held = pen.at(0, 0.1, 1.0, 0.1 * math.sin(turn))
    held.poly(((-0.4, -0.05), (0.4, -0.05), (0, 1.0)), (226, 164, 84))
    for x in (-0.2, 0.1):
        held.line(((x, 0.0), (x + 0.2, 0.4)), 0.05, (170, 110, 46))
        held.line(((-x, 0.0), (-x - 0.2, 0.4)), 0.05, (170, 110, 46))
    for x, y, colour in ((-0.3, -0.28, (255, 150, 184)), (0.3, -0.28, (150, 226, 190)), (0, -0.75, (255, 244, 214))):
        held.oval(x, y, 0.42, 0.4, colour)
    held.oval(0.02, -1.12, 0.14, 0.14, (214, 30, 50))


def easel(pen: Pen, turn: float) -> None:
    for x, foot in ((-0.4, -0.75), (0.4, 0.75), (0, 0)):
        pen.line(((x * 0.4, -1.0), (foot, 1.1)), 0.1, (150, 100, 56))
    pen.box(-0.85, -0.75, 0.85, 0.5, (255, 253, 246))
    pen.box(-0.7, -0.6, 0.7, 0.35, (150, 214, 250), edge=False)
    pen.poly(((-0.7, 0.35), (-0.3, -0.2), (0.1, 0.2), (0.4, -0.1), (0.7, 0.35)), (70, 160, 80), edge=False)
    pen.oval(0.36, -0.34, 0.17, 0.17, (255, 190, 40), edge=False)
    dab = pen.at(-0.35 + 0.15 * math.sin(turn * 2), -0.05 + 0.1 * math.cos(turn * 2), 1.0, 0.6)
    dab.line(((0, 0), (0, 0.9)), 0.09, (120, 70, 40))
    dab.oval(0, 0.0, 0.09, 0.17, (230, 50, 60), edge=False)


def drum(pen: Pen, turn: float) -> None:
    pen.box(-0.8, -0.1, 0.8, 0.78, (210, 40, 60))
    pen.oval(0, 0.78, 0.8, 0.24, (210, 40, 60))
    pen.line([(-0.8 + 0.32 * i, 0.1 if i % 2 else 0.85) for i in range(6)], 0.1, WHITE)
    pen.oval(0, -0.1, 0.8, 0.26, (255, 240, 206))
    for way in (-1, 1):
        beat = 0.35 * abs(math.sin(turn * 3 + way * math.pi / 4))
        stick = pen.at(way * 0.25, -0.16 - beat, 1.0, way * 0.7)
        stick.line(((0, 0), (0, -0.95)), 0.12, (150, 96, 50))
        stick.oval(0, 0, 0.14, 0.14, (250, 230, 190))


def flag(pen: Pen, turn: float) -> None:
    held = pen.at(-0.55, 0, 1.0, 0.12 * math.sin(turn))
    held.line(((0.35, 1.15), (0, -1.05)), 0.12, (120, 80, 46))
    held.oval(0, -1.08, 0.1, 0.1, (255, 206, 60))
    wave = [(0.02 + 0.34 * i, 0.025 * i * math.sin(turn * 3 - i)) for i in range(5)]
    bands = (((20, 160, 170), -1.0), ((255, 214, 70), -0.66), ((240, 96, 120), -0.32))
    held.poly([*((x, y - 1.0) for x, y in wave), *((x, y + 0.02) for x, y in wave[::-1])], WHITE)
    for colour, high in bands:
        band = [*((x, y + high) for x, y in wave), *((x, y + high + 0.34) for x, y in wave[::-1])]
        held.poly(band, colour, edge=False)


def lantern(pen: Pen, turn: float) -> None:
    held = pen.at(0, -0.95, 1.0, 0.12 * math.sin(turn))
    glow = 0.05 * math.sin(turn * 2)
    held.oval(0, 1.05, 0.95 + glow, 0.95 + glow, (255, 236, 150), edge=False)
    held.line([(0.36 * math.cos(a), 0.32 - 0.36 * math.sin(a)) for a in np.linspace(0, math.pi, 9)], 0.09, INK)
    held.poly(((-0.5, 0.55), (-0.2, 0.25), (0.2, 0.25), (0.5, 0.55)), (60, 66, 84))
    held.box(-0.42, 0.55, 0.42, 1.6, (255, 170, 20))
    held.oval(0, 1.15, 0.2, 0.34 + glow, (255, 250, 200), edge=False)
    for x in (-0.42, 0.42):
        held.line(((x, 0.55), (x, 1.6)), 0.1, (60, 66, 84))
    held.box(-0.55, 1.6, 0.55, 1.82, (60, 66, 84))


PROP: dict[str, Callable[[Pen, float], None]] = {
    f.__name__: f for f in (kite, balloon, guitar, book, umbrella, icecream, easel, drum, flag, lantern)
}

# ---- the frame


@dataclass(frozen=True)
class Framing:
    """A shot size. In frame heights: the background's magnification, the head's radius, the prop's half height, the
    figure's step away from its prop; then the rows of the horizon and of the head's middle."""

    zoom: float
    head: float
    prop: float
    aside: float
    horizon: float
    eye_line: float


FRAMINGS = {
    "wide": Framing(1.0, 0.106, 0.16, 0.13, 0.66, 0.45),
    "medium": Framing(1.45, 0.178, 0.2, 0.18, 0.64, 0.48),
    "close": Framing(2.0, 0.262, 0.25, 0.24, 0.62, 0.6),
}
BLINK = 0.14  # seconds, every BLINK_EVERY
BLINK_EVERY = 2.4


def draw(scene: Scene, *, time: float = 0.0, size: tuple[int, int] = (640, 360)) -> NDArray[np.uint8]:
    """The scene as RGB (height x width x 3), `time` seconds into its shot; `size` is (width, height) in px.

    Same scene, time and size, same pixels. Aspects from 2:1 to 1:2; at 16:9 what matters is inside the middle 2:1.
    """
    width, height = size
    image = np.empty((height, width, 3), np.uint8)
    rng = random.Random(scene.seed)
    phase, drift = rng.uniform(0, math.tau), rng.choice((-1, 1))
    shot = FRAMINGS[scene.shot]
    # the camera: a slow pan with a breath of zoom; both bounded, so nothing leaves the picture however long the shot
    pan = 0.03 * drift * math.sin(0.7 * time + 0.3 * phase)
    zoom = 1 + 0.025 * math.sin(0.8 * time + phase)

    unit = min(height, 0.62 * width)  # a narrow frame keeps the landmarks at +-0.36
    middle = width / 2 + unit * (rng.uniform(-0.03, 0.03) + pan)
    place = Pen.on(image, middle, height * shot.horizon, unit * shot.zoom * zoom, flip=scene.mirrored)
    place.tint = (rng.randint(-9, 9), rng.randint(-9, 9), rng.randint(-9, 9))
    PLACE[scene.place](place, rng, time)

    unit = min(height, 0.82 * width)  # and figure and prop side by side
    aside = shot.aside if scene.mirrored else -shot.aside
    head = unit * shot.head * zoom
    x = width / 2 + unit * (aside + rng.uniform(-0.03, 0.03) + 0.4 * pan)
    eye_line = shot.eye_line + 0.15 * (1 - unit / height) + rng.uniform(-0.012, 0.012)
    y = height * eye_line + head * 0.06 * math.sin(4.1 * time + phase)
    draw_figure(Pen.on(image, x, y, head, flip=scene.mirrored), scene, shot.prop / shot.head, time + phase)
    return image


def draw_figure(pen: Pen, scene: Scene, prop: float, time: float) -> None:
    """The character with what it wears and holds; `prop` is the prop's half height in head radii, `time` in seconds."""
    who, fill = scene.character, FILLS[scene.character.colour]
    look = Look(fill, shade(fill, -0.32), shade(fill, 0.45), 0.15 if time % BLINK_EVERY < BLINK else 1.0)
    swing = math.sin(3.2 * time)
    pen.oval(0, 3.38, 1.5, 0.18, shade(INK, 0.25))
    pen.outline = INK
    leaning = pen.at(0, 0, 1.0, 0.025 * swing)
    if who.worn == "cape":
        cape(leaning, swing)
    body(leaning, who.kind, look, swing)
    grip = (1.2 + prop, 0.1 + 0.95 * prop)
    pen.line(((0.72, 1.4), (1.4, 1.75), grip), 0.42, fill)
    KIND[who.kind](leaning, look)
    wear(leaning, who.worn, who.kind, swing)
    PROP[scene.action](pen.at(1.2 + prop, 0.1, prop), 2.6 * time)
    pen.oval(*grip, 0.32, 0.3, fill)
