"""Ready-made grids: distinguished from panels, and cut back into panels at their seams."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import pixels, task
from pipeline.sources.readers import grid as reader
from pipeline.stages import collect, compose
from pipeline.task import Task

JOINT = "[MOVIE-SHOTS] A day, [SCENE-1] <Mia> wakes up early, [SCENE-2] she walks away, [SCENE-3] night falls."
LAYOUTS = {name: task.load(name) for name in task.names()}


def sample(folder: Path, draw) -> Path:
    """A grid for the contract of readers."""
    draw(1, (400, 600)).save(folder / "grid.png")
    (folder / "grid.txt").write_text(JOINT)
    return folder


def save(picture: Image.Image, *paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)


def claimed(folder: Path, task: Task) -> list[str]:
    """Names of the items below a folder that are recognised as grids."""
    items = collect.find([folder])
    return [item.name for item in items if reader.claims(item, item.head(), task, folder)]


def joint(name: str) -> str:
    return " ".join(f"{marker} some words here" for marker in LAYOUTS[name].markers)


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_image_with_a_joint_caption_is_a_grid_or_a_panel_by_its_shape_or_its_siblings(name, tmp_path):
    layout = LAYOUTS[name].grid_layout
    for stem in ("grid", "other"):
        Image.new("L", layout.canvas).reduce(8).save(tmp_path / f"{stem}.png")
        (tmp_path / f"{stem}.txt").write_text(f"{stem} {joint(name)}")
    for panel in range(layout.size):
        Image.new("L", (layout.panel_width // 8, layout.panel_height // 8)).save(tmp_path / f"panel-{panel}.png")
        (tmp_path / f"panel-{panel}.txt").write_text(f"panels {joint(name)}")
    assert claimed(tmp_path, LAYOUTS[name]) == ["grid.png", "other.png"]


def test_an_image_without_a_joint_caption_of_its_own_is_not_a_grid(tmp_path, draw, storyboard):
    save(draw(1, (400, 600)), tmp_path / "a.png", tmp_path / "b-1.png", tmp_path / "c.png")
    (tmp_path / "a.txt").write_text("a cat on a mat")
    (tmp_path / "b.txt").write_text(JOINT)
    assert claimed(tmp_path, storyboard) == []


@pytest.mark.parametrize("name", ["storyboard", "font-design"])
def test_a_grid_on_the_tasks_own_canvas_comes_back_pixel_for_pixel(name, tmp_path, draw, gather):
    theme = LAYOUTS[name]
    layout = theme.grid_layout
    paths = [tmp_path / f"{panel}.png" for panel in range(layout.size)]
    for panel, path in enumerate(paths):
        draw(panel, (layout.panel_width // 2, layout.panel_height // 2)).save(path)
    canvas = compose.draw(paths, layout, "crop")
    save(canvas, tmp_path / "in" / "0001.png")
    (tmp_path / "in" / "0001.txt").write_text(joint(name))
    records, rejected = gather(tmp_path / "in", theme)
    assert (len(records), rejected, {record.text for record in records}) == (layout.size, [], {joint(name)})
    again = compose.draw([tmp_path / "run" / record.path for record in records], layout, "crop")
    assert again.tobytes() == canvas.tobytes()


@pytest.mark.parametrize("name", ["storyboard", "font-design", "portrait-illustration"])
def test_seams_are_found_within_a_pixel_even_if_they_are_up_to_five_off(name, tmp_path, draw):
    layout, rng = LAYOUTS[name].grid_layout, np.random.default_rng(1)
    width, height = (1080, 1363) if layout.cols == 1 else (1363, 1080)
    off = 0
    for trial in range(3):
        xs = [0, *(round(i * width / layout.cols + rng.integers(-5, 6)) for i in range(1, layout.cols)), width]
        ys = [0, *(round(i * height / layout.rows + rng.integers(-5, 6)) for i in range(1, layout.rows)), height]
        made = [(xs[c], ys[r], xs[c + 1], ys[r + 1]) for r in range(layout.rows) for c in range(layout.cols)]
        grid = Image.new("RGB", (width, height))
        for panel, (left, top, right, bottom) in enumerate(made):
            grid.paste(draw(20 * trial + panel, (right - left, bottom - top)), (left, top))
        grid.save(tmp_path / "grid.jpg", quality=90)
        boxes = reader.panel_boxes(pixels.open_image(tmp_path / "grid.jpg"), LAYOUTS[name])
        off = max(off, int(abs(np.array(boxes) - np.array(made)).max()))
    assert off <= 1


def test_a_grid_without_visible_seams_is_cut_into_equal_parts(storyboard):
    assert reader.panel_boxes(Image.new("RGB", (300, 900), "grey"), storyboard)[1] == (0, 300, 300, 600)


@pytest.mark.parametrize("size", [(1, 1), (4, 6000), (6000, 4), (30, 40)])
def test_a_grid_too_small_to_cut_is_rejected(size, tmp_path, draw, storyboard):
    save(draw(1, size), tmp_path / "a.png")
    (tmp_path / "a.txt").write_text(JOINT)
    (item,) = collect.find([tmp_path / "a.png"])
    assert [row.reason for row in reader.read(item, storyboard, tmp_path)] == ["too small"]
