"""What several test files need: drawn pictures, and a way to send files through a stage as the engine does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline import task
from pipeline.records import Record, Rejected
from pipeline.stages import collect, inspect
from pipeline.task import Task

Outcome = tuple[list[Record], list[Rejected]]


def sorted_out(results: Sequence[Record | Rejected]) -> Outcome:
    kept = [item for item in results if isinstance(item, Record)]
    return kept, [item for item in results if isinstance(item, Rejected)]


@pytest.fixture
def draw() -> Callable[..., Image.Image]:
    """Soft coloured shapes, like no other seed's."""

    def draw(seed: int, size: tuple[int, int] = (640, 360)) -> Image.Image:
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (5, 8, 3), np.uint8)
        picture = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
        for _ in range(12):
            centre = tuple(int(rng.integers(0, side)) for side in size)
            colour = tuple(int(value) for value in rng.integers(0, 256, 3))
            cv2.circle(picture, centre, int(min(size) * rng.uniform(0.05, 0.2)), colour, -1)
        return Image.fromarray(picture)

    return draw


@pytest.fixture
def storyboard() -> Task:
    return task.load("storyboard")


@pytest.fixture
def gather(tmp_path: Path, storyboard: Task) -> Callable[..., Outcome]:
    """Collects what lies below a path, into the run's folder `tmp_path / "run"`."""

    def gather(path: Path, task: Task = storyboard) -> Outcome:
        files = collect.find([path])
        stage = collect.stage(task, files, tmp_path / "run", [])
        results = list(stage.run(files))
        settled = {origin for item in results if isinstance(item, Record) for origin in stage.origin(item)}
        settled |= {item.origin for item in results if isinstance(item, Rejected)}
        assert settled == {file.id for file in files}  # every file in is a record or a rejected row
        return sorted_out(results)

    return gather


@pytest.fixture
def measure(tmp_path: Path, storyboard: Task) -> Callable[..., Outcome]:
    """Inspects records of `gather`."""

    def measure(records: Sequence[Record], task: Task = storyboard) -> Outcome:
        return sorted_out(list(inspect.stage(task, tmp_path / "run", 1).run(records)))

    return measure
