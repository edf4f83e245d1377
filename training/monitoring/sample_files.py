"""Where a training puts its samples, and what was drawn in each; reads them without loading PyTorch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

FOLDER = "samples"
KEY = "iclora"
"""Of what a picture was drawn from, in its PNG."""
NAME = re.compile(r"(\d{6,})-(\d+)\.png")


def name_of(step: int, number: int) -> str:
    """A sample's file name.

    Args:
        step: 0 for the base alone.
        number: of the caption, from 1.
    """
    return f"{step:06d}-{number}.png"


def find(training: Path) -> dict[int, list[int]]:
    """The numbers of the samples in a training's folder, by step."""
    found: dict[int, list[int]] = {}
    names = (NAME.fullmatch(path.name) for path in (training / FOLDER).glob("*.png"))
    for step, number in sorted((int(name[1]), int(name[2])) for name in names if name):
        found.setdefault(step, []).append(number)
    return found


@dataclass(frozen=True)
class Drawn:
    """What a sample was drawn from."""

    prompt: str
    given: str
    """The kind of condition, in words."""


def read_drawn(path: Path) -> Drawn:
    """What a sample was drawn from; empty texts if its file is damaged or gone."""
    try:
        with Image.open(path) as picture:
            said = json.loads(picture.info[KEY])
    except (OSError, SyntaxError, ValueError, KeyError):  # SyntaxError: Pillow's, for a damaged PNG
        return Drawn("", "")
    if not isinstance(said, Mapping):
        return Drawn("", "")
    return Drawn(str(said.get("prompt", "")), str(said.get("given", "")))
