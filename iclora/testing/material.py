"""What contract tests give to plug-ins: drawn pictures, records, questions, and a small data set."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from iclora.testing.sources import collected
from miniature.draw import draw
from miniature.world import Scene, describe, draw_character, draw_scene
from pipeline import task
from pipeline.captioning import instructions
from pipeline.captioning.protocol import Question
from pipeline.dataset import samples
from pipeline.dataset.samples import Dataset
from pipeline.dataset.split import Split
from pipeline.records import Grid, Group, Position, Record, Row
from pipeline.stages import inspect
from pipeline.text import grammar

SMALL = ("layout.panel_width=128", "layout.panel_height=64")
GRIDS = 6
"""Of the data set that exporters are given; the last one is held out."""


def picture(scene: Scene, of: task.Task) -> Image.Image:
    return Image.fromarray(draw(scene, size=(of.layout.panel_width, of.layout.panel_height)))


def films() -> list[Record]:
    """Three films of seven shots each."""
    return [
        replace(one, position=Position("/films", f"{film}{shot}", film, shot, 2.0 * shot))
        for film in "abc"
        for shot in range(7)
        for one in [_record(f"{film}{shot}", ord(film))]
    ]


def of_source(path: Path, of: task.Task) -> list[Record]:
    """The measured pictures of a source."""
    with tempfile.TemporaryDirectory() as home:
        found = collected(path, Path(home))
        measured = [inspect.measure(one, Path(home), of.layout) for one in found]
    return [one for one in measured if isinstance(one, Record)]


def folder() -> list[Record]:
    """Two folders of pictures, some of whose names differ in their last word only, and one with facts of a
    listing, which has three of its pictures in one group."""
    names = [f"{folder}/{number}_{role}" for folder in "xy" for number in range(3) for role in ("1", "2", "3")]
    made = [_record(name, ord(name[0])) for name in [*names, "z/alone", "z/b", "z/c", "z/d"]]
    listed = {f"z/{stem}": order for order, stem in enumerate("bcd")}
    return [
        replace(
            one,
            position=Position(f"/{one.id[0]}", one.id[2:], group="g" * (one.id in listed), order=listed.get(one.id)),
        )
        for one in made
    ]


def _record(name: str, seed: int) -> Record:
    """A measured picture; those of one seed have much the same colours."""
    own, shared = random.Random(name), random.Random(seed)
    colours = bytes(min(255, shared.randrange(200) + own.randrange(40)) for _ in range(128))
    return Record(
        name, f"/{name}.png", f"/{name}.png", Position(), width=640, height=360,
        phash=f"{own.getrandbits(64):016x}", histogram=colours.hex(),
    )  # fmt: skip


def task_of_questions() -> task.Task:
    """What questions are about: storyboards of three small panels."""
    return task.load("storyboard", list(SMALL))


def question(seed: int) -> Question:
    rng = random.Random(seed)
    of = task_of_questions()
    scenes = [draw_scene(rng) for _ in of.markers]
    panels = tuple(picture(scene, of) for scene in scenes)
    grid = Image.new("RGB", of.grid_layout.canvas)
    for panel, box in zip(panels, of.grid_layout.boxes, strict=True):
        grid.paste(panel, box[:2])
    return Question(panels, tuple(map(describe, scenes)), of.markers, instructions.write(of), grid=grid)


def dataset(home: Path, settings: Sequence[str]) -> Dataset:
    """Six storyboards, one of them held out, and their pictures below the folder."""
    of, rng = task.load("storyboard", [*SMALL, *settings]), random.Random(0)
    layout, rows = of.grid_layout, []
    for number in range(1, GRIDS + 1):
        scenes = [draw_scene(rng, draw_character(rng)) for _ in of.markers]
        canvas = Image.new("RGB", layout.canvas)
        for scene, box in zip(scenes, layout.boxes, strict=True):
            canvas.paste(picture(scene, of), box[:2])
        canvas.save(home / f"{number}.png")
        records = tuple(Record(f"r{number}-{panel}", "", f"/films/{number}.mp4", Position()) for panel in range(3))
        text = grammar.render("A day out", [describe(scene) for scene in scenes], [], of)
        grid = Grid(f"g{number}", Group(f"s{number}", of.name, records, "drawn", 1), layout, f"{number}.png")
        rows.append(Row(grid, grammar.parse(text, of)))
    films = {row.id: f"film {number}" for number, row in enumerate(rows, 1)}
    return samples.gather(rows, of, home, Split(films, frozenset([rows[-1].id]), ""))
