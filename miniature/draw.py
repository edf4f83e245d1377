"""Draws one scene, at one moment, as a flat illustration of a place, a character and what it holds.

Three layers, each in its own units so that one drawing serves every frame and shot size: the place in wide-shot frame
heights around the middle of the horizon, the figure in head radii around its head, the prop in half its height around
its middle. A closer shot magnifies all three, so that a cut within one place is visible.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from miniature.figures import KIND, Look, body, cape, wear
from miniature.pen import FILLS, INK, Pen, shade
from miniature.places import PLACE
from miniature.props import PROP
from miniature.world import Scene


@dataclass(frozen=True)
class Framing:
    """A shot size. In frame heights: the background's magnification, the head's radius, the prop's half height, the
    figure's distance from its prop; then the rows of the horizon and of the head's middle."""

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

    The same scene, time and size give the same pixels. Aspect ratios from 2:1 to 1:2; at 16:9, everything that matters
    is inside the middle 2:1.
    """
    width, height = size
    image = np.empty((height, width, 3), np.uint8)
    rng = random.Random(scene.seed)
    phase, drift = rng.uniform(0, math.tau), rng.choice((-1, 1))
    shot = FRAMINGS[scene.shot]
    # the camera: a slow pan and a slight zoom, both bounded, so that nothing leaves the frame however long the shot
    pan = 0.03 * drift * math.sin(0.7 * time + 0.3 * phase)
    zoom = 1 + 0.025 * math.sin(0.8 * time + phase)

    unit = min(height, 0.62 * width)  # a narrow frame keeps the landmarks within +-0.36
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
    """The character with its clothing and prop; `prop` is the prop's half height in head radii, `time` in seconds."""
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
