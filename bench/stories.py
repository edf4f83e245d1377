"""Pages about characters that the mini FLUX has never seen, for LoRAs to learn and for prompts, and their files."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from miniature.making.flux_data import PANEL, PANELS, draw_large, draw_panel, is_held_out, tell_story
from miniature.world import COLOURS, KINDS, WORN, Character, Scene
from pipeline.text.names import POOL

TASK = "storyboard"
SEED = 11
TEST = 0.5
"""Share of the characters unseen by the base that is reserved for the prompts."""


@dataclass(frozen=True)
class Story:
    """A page: three scenes of one character and its name."""

    scenes: tuple[Scene, ...]
    name: str

    def caption(self, *, described: bool) -> str:
        """The joint caption; the summary describes the character's looks only if `described`."""
        return tell_story(self.scenes, self.name, self.scenes[0].character.words if described else None)

    def panels(self) -> list[Image.Image]:
        return [Image.fromarray(draw_panel(scene, filmed=True)) for scene in self.scenes]

    def grid(self) -> Image.Image:
        grid = Image.new("RGB", (PANEL[0], PANELS * PANEL[1]))
        for place, panel in enumerate(self.panels()):
            grid.paste(panel, (0, place * PANEL[1]))
        return grid


def characters(*, test: bool) -> list[Character]:
    """Characters that the base never saw, for the prompts (`test`) or for training."""
    unseen = [Character(k, c, w) for k in KINDS for c in COLOURS for w in WORN if is_held_out(Character(k, c, w))]
    random.Random(SEED).shuffle(unseen)
    middle = round(len(unseen) * TEST)
    return unseen[:middle] if test else unseen[middle:]


def stories(count: int, *, test: bool) -> list[Story]:
    """Pages that cycle through the characters; a shorter list is a prefix of a longer one."""
    cast, rng, made = characters(test=test), random.Random(SEED + test), []
    for number in range(count):
        who = cast[number % len(cast)]
        scenes = tuple(replace(draw_large(rng), character=who) for _ in range(PANELS))
        made.append(Story(scenes, rng.choice(POOL)))
    return made


def write_data(folder: Path, pages: Sequence[Story], *, described: bool = True) -> Path:
    """Writes pages as a data set of grids with captions."""
    home = folder / "train"
    home.mkdir(parents=True, exist_ok=True)
    for number, page in enumerate(pages):
        page.grid().save(home / f"{number:04d}.png")
        (home / f"{number:04d}.txt").write_text(page.caption(described=described), encoding="utf-8")
    return folder


def write_prompts(file: Path, pages: Sequence[Story], *, described: bool = True, given: bool = False) -> Path:
    """Writes the captions of pages as a table of prompts.

    Args:
        described: whether the summary describes the character.
        given: whether the first panel's picture is given; it is written beside the table.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(["prompt", "given 1"] if given else ["prompt"])
        for number, page in enumerate(pages):
            picture = file.parent / f"{number:04d}.png"
            if given:
                page.panels()[0].save(picture)
            writer.writerow([page.caption(described=described), *([picture.name] if given else [])])
    return file
