"""Places: unit 1 is the frame's height in a wide shot, (0, 0) the middle of the horizon; every shot shows +-0.36."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import cv2
import numpy as np

from miniature.pen import INK, WHITE, Colour, Pen, shade


def backdrop(pen: Pen, high: Colour, low: Colour, ground: Colour) -> None:
    """The sky, from `high` down to `low` at the horizon, and the ground below."""
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
