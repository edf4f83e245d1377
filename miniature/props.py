"""Props: unit 1 is half the prop's height, (0, 0) its middle; the hand holds it at (0, 1)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from miniature.pen import INK, WHITE, Pen


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
