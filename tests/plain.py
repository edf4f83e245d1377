"""Small grids of plain colours and a task for them, for tests of the caption stage in which content doesn't matter."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline import task
from pipeline.records import Grid, Group, Layout, Position, Record
from pipeline.store import Store
from pipeline.task import Task

LAYOUT = Layout(3, 1, 64, 64)


def small(**overrides: object) -> Task:
    """The storyboard task with panels that cost no time; `caption__attempts=2` sets `caption.attempts`."""
    lines = [f"{key.replace('__', '.')}={json.dumps(value)}" for key, value in overrides.items()]
    return task.load("storyboard", ["layout.panel_width=64", "layout.panel_height=64", *lines])


def painted(folder: Path, colours: Iterable[tuple[int, int, int]], texts: Sequence[str] = ("", "", "")) -> list[Grid]:
    """One grid per colour, and the same texts with the panels of each."""
    made = []
    (folder / "grids").mkdir(parents=True, exist_ok=True)
    for number, colour in enumerate(colours):
        Image.new("RGB", LAYOUT.canvas, colour).save(folder / "grids" / f"{number}.png")
        records = tuple(
            Record(f"r{number}-{panel}", "", "", Position(), text=text) for panel, text in enumerate(texts, start=1)
        )
        made.append(Grid(f"g{number}", Group(f"s{number}", "", records, "", 1), LAYOUT, f"grids/{number}.png"))
    return made


def facts(folder: Path) -> dict[str, Any]:
    """The facts of the finished caption stage."""
    with Store(folder) as store:
        mark = store.mark("caption")
    assert mark and mark.done
    return mark.facts
