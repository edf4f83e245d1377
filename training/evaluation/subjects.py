"""What stands in a panel: its main subject cut out, its background without subjects, and how many people are there."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from PIL import Image

from training.evaluation.detectors.base import PERSON, Detection

ANIMALS = frozenset(("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"))
"""Of COCO's labels."""
GREY = (128, 128, 128)
Box = tuple[int, int, int, int]


def main(found: Sequence[Detection]) -> Detection | None:
    """The most confident person; without people the most confident animal, then the most confident thing."""
    return max(found, key=lambda one: (_rank(one), one.score), default=None)


def _rank(one: Detection) -> int:
    return 2 if one.label == PERSON else 1 if one.label in ANIMALS else 0


def crop(panel: Image.Image, found: Sequence[Detection]) -> Image.Image:
    """The panel's main subject; the whole panel where nothing was found."""
    subject = main(found)
    return panel.crop(subject.box) if subject else panel


def boxes(found: Sequence[Detection]) -> list[Box]:
    """Of all people and animals; of the main subject alone where there are none."""
    living = [one.box for one in found if _rank(one)]
    subject = main(found)
    return living or ([subject.box] if subject else [])


def without(panel: Image.Image, subjects: Iterable[Box]) -> Image.Image:
    """The panel with these boxes greyed out."""
    background = panel.convert("RGB")
    for box in subjects:
        background.paste(GREY, box)
    return background


def agreement(found: int, told: int) -> float:
    """How well the number of people in a panel agrees with that in its text, 0 to 100 (ViStoryBench's OCCM)."""
    return 100 * math.exp(-abs(found - told) / (1e-6 + told))


def count(found: Sequence[Detection]) -> int:
    """People in a panel."""
    return sum(one.label == PERSON for one in found)
