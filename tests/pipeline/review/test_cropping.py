"""A person chooses which part of its picture a panel shows: what is kept, and what is drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline import pixels
from pipeline.errors import BadInput
from pipeline.records import Box, Crop, Grid, Group, Layout, Position, Record, Review
from pipeline.review import cropping, decisions, reviews
from pipeline.stages import compose
from pipeline.task import LayoutSection, Task

LAYOUT = LayoutSection(rows=3, cols=1, panel_width=128, panel_height=64, max_enlarge=2)
SHARE = st.floats(0, 1)


def record(name: str, path: str = "", size: tuple[int, int] = (400, 400)) -> Record:
    return Record(name, path or f"/{name}.png", f"/{name}.png", Position(), width=size[0], height=size[1])


def grid(*records: Record) -> Grid:
    group = Group("s-1", "storyboard", records, "", 1)
    return Grid("g-1", group, Layout(3, 1, 128, 64), "grids/g-1.png", "p")


WIDE, TALL = record("wide", size=(800, 200)), record("tall", size=(200, 800))


# ---- which boxes there are


@pytest.mark.parametrize(
    ("one", "box"), [(WIDE, (0.25, 0, 0.75, 1)), (TALL, (0, 0.4375, 1, 0.5625)), (record("square"), (0, 0.25, 1, 0.75))]
)
def test_what_is_drawn_at_first_is_the_largest_box_at_the_focus(one: Record, box: Box) -> None:
    assert cropping.usual(one, LAYOUT) == box
    moved = cropping.usual(replace(one, focus=1.0), LAYOUT)
    assert (moved[2], moved[3]) == (1, 1)
    assert cropping.checked(box, one, LAYOUT) == box


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((-0.1, 0, 0.9, 0.5), "must lie inside the picture, got -10.0 to 90.0 % of the width"),
        ((0.5, 0.6, 1.5, 1.1), "must lie inside the picture"),
        ((0.5, 0.5, 0.5, 0.5), "must lie inside the picture"),
        ((0.9, 0.5, 0.1, 0.1), "must lie inside the picture"),
        ((float("nan"), 0, 1, 1), "must lie inside the picture"),
        ((0, 0, 0.5, 0.5), "200 x 200 pixels has not the shape of a panel, 128 x 64"),
        ((0, 0, 0.15, 0.075), "60 x 30 pixels would be enlarged 2.1 times for a panel of 128 x 64 (limit layout.max_e"),
    ],
)
def test_a_box_outside_the_picture_of_another_shape_or_too_small_is_refused(box: Box, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        cropping.checked(box, record("a"), LAYOUT)
    assert message in str(caught.value)
    assert str(caught.value).endswith(".")


def test_of_a_picture_that_is_enlarged_already_the_largest_box_can_still_be_shifted() -> None:
    small = record("small", size=(20, 20))
    assert cropping.least(small, LAYOUT) == 1
    assert cropping.checked((0, 0.1, 1, 0.6), small, LAYOUT) == (0, 0.1, 1, 0.6)


@given(SHARE, SHARE, SHARE, SHARE, st.integers(1, 9000), st.integers(1, 9000))
def test_a_narrowed_box_has_the_shape_and_lies_within(
    one: float, other: float, top: float, down: float, width: int, height: int
) -> None:
    box = (min(one, other), min(top, down), max(one, other), max(top, down))
    if box[2] - box[0] < 0.001 or box[3] - box[1] < 0.001:
        return
    left, upper, right, lower = pixels.fitting.narrowed(box, (width, height), (128, 64))
    near = 1e-9
    assert box[0] - near <= left < right <= box[2] + near and box[1] - near <= upper < lower <= box[3] + near
    assert (right - left) * width == pytest.approx(2 * (lower - upper) * height)
    assert min(left, upper) >= 0
    assert max(right, lower) <= 1


# ---- what is drawn


@pytest.fixture
def pictures(tmp_path: Path) -> list[Record]:
    """Three pictures whose left half is red, green or blue and whose right half is black."""
    found = []
    for number in range(3):
        colours = np.zeros((400, 400, 3), np.uint8)
        colours[:, :200, number] = 255
        path = tmp_path / f"{number}.png"
        Image.fromarray(colours).save(path)
        found.append(record(str(number), str(path)))
    return found


def drawn(of: Grid, folder: Path) -> list[tuple[int, ...]]:
    """The mean colours of the panels, in hundreds."""
    picture = compose.write(of, "crop", folder)
    return [
        tuple(np.asarray(panel).mean(axis=(0, 1)).round(-2).astype(int)) for panel in pixels.cut(picture, of.layout)
    ]


def test_a_panel_shows_its_crop_and_takes_it_along_to_another_place(tmp_path: Path, pictures: list[Record]) -> None:
    composed, known = grid(*pictures), {one.id: one for one in pictures}
    left = Review("g-1", None, crops=(Crop("1", (0, 0, 0.5, 0.25)),))
    chosen = reviews.arranged_by(composed, left, known)
    assert chosen.crops == (None, (0, 0, 0.5, 0.25), None)
    assert chosen.path != composed.path
    assert drawn(composed, tmp_path) == [(100, 0, 0), (0, 100, 0), (0, 0, 100)]
    assert drawn(chosen, tmp_path) == [(100, 0, 0), (0, 300, 0), (0, 0, 100)]
    moved = reviews.arranged_by(composed, replace(left, panels=("1", "0", "2")), known)
    assert drawn(moved, tmp_path) == [(0, 300, 0), (100, 0, 0), (0, 0, 100)]
    assert len({composed.path, chosen.path, moved.path}) == 3
    gone = reviews.arranged_by(composed, Review("g-1", None, crops=(Crop("other", (0, 0, 1, 0.5)),)), known)
    assert gone == composed


def test_pictures_of_exchanged_panels_have_the_names_that_they_had(pictures: list[Record]) -> None:
    known = {one.id: one for one in pictures}
    swapped = reviews.arranged_by(grid(*pictures), Review("g-1", None, panels=("2", "1", "0")), known)
    assert swapped.path == "grids/g-1-jkwjpmdtcj.png"


def test_a_crop_of_another_shape_is_drawn_in_the_shape_of_the_panel(tmp_path: Path, pictures: list[Record]) -> None:
    review = Review("g-1", None, crops=(Crop("0", (0, 0, 0.5, 1)),))
    of = reviews.arranged_by(grid(*pictures), review, {})
    assert drawn(of, tmp_path)[0] == (300, 0, 0)
    assert cropping.in_force(of, 0, LAYOUT) == (0, 0.375, 0.5, 0.625)
    assert cropping.in_force(of, 1, LAYOUT) == (0, 0.25, 1, 0.75)


# ---- what is kept


def test_a_crop_is_written_down_and_found_again_by_content(tmp_path: Path, storyboard: Task) -> None:
    here, box = grid(*(record(name) for name in "abc")), (0.1, 0.1, 0.9, 0.5)
    line = decisions.line_on(here, Review("g-1", None, crops=(Crop("b", box),)), [], "page")
    decisions.append(tmp_path, [line])
    log = decisions.read(tmp_path)
    assert log.lines == (line,)
    found = decisions.match(log.latest(), [here], {}, storyboard)
    assert found.reviews["g-1"].crops == (Crop("b", box),)
    other = replace(grid(*(record(name) for name in "xyz")), id="g-2")  # files with other bytes, the same pixels
    assert decisions.match(log.latest(), [other], {}, storyboard).reviews["g-2"].crops == (Crop("y", box),)


def test_a_line_with_a_crop_that_no_picture_has_is_unreadable_and_stays(tmp_path: Path) -> None:
    here = grid(*(record(name) for name in "abc"))
    line = decisions.line_on(here, Review("g-1", None, crops=(Crop("b", (0.1, 0.1, 0.9, 0.5)),)), [], "page")
    decisions.append(tmp_path, [line])
    file = tmp_path / decisions.FILE
    file.write_text(file.read_text().replace("0.9", "1.9"))
    assert decisions.read(tmp_path).unreadable == (1,)


def test_what_is_drawn_anyway_is_no_crop() -> None:
    one = record("a")
    crops = cropping.with_crop((), one, (0, 0, 1, 0.5), LAYOUT)
    assert crops == (Crop("a", (0, 0, 1, 0.5)),)
    assert cropping.with_crop(crops, one, (0, 0.25, 1, 0.75), LAYOUT) == ()
    assert cropping.with_crop(crops, one, None, LAYOUT) == ()
    assert cropping.with_crop(crops, record("b"), None, LAYOUT) == crops
