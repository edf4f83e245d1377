"""Figures: unit 1 is the head's radius, (0, 0) its middle; the feet are at y = 3.3."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from miniature.pen import INK, WHITE, Colour, Pen


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
    """Everything in front of the figure: hat, scarf, crown, and the cape's clasp."""
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
