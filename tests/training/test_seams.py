"""Malformed grids are told by their picture alone, each fault with its place."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image, ImageFilter

from miniature.draw import draw
from miniature.world import draw_character, draw_scene
from pipeline.records import Layout
from training.evaluation import seams

ROWS, SQUARE = Layout(3, 1, 512, 256), Layout(2, 2, 320, 256)


def pictures(count: int, size: tuple[int, int], seed: int = 0) -> list[Image.Image]:
    rng = random.Random(seed)
    return [Image.fromarray(draw(draw_scene(rng, draw_character(rng)), size=size)) for _ in range(count)]


def grid(layout: Layout, seed: int = 0) -> Image.Image:
    canvas = Image.new("RGB", layout.canvas)
    panels = pictures(layout.size, (layout.panel_width, layout.panel_height), seed)
    for panel, box in zip(panels, layout.boxes, strict=True):
        canvas.paste(panel, box[:2])
    return canvas


def stacked(heights: Sequence[int], width: int, seed: int = 0) -> Image.Image:
    """Pictures of these heights below each other."""
    canvas, top = Image.new("RGB", (width, sum(heights))), 0
    for number, height in enumerate(heights):
        canvas.paste(pictures(1, (width, height), seed + number)[0], (0, top))
        top += height
    return canvas


@pytest.mark.parametrize("layout", [ROWS, SQUARE, Layout(1, 2, 256, 256), Layout(3, 1, 128, 64)])
def test_panels_in_their_places_have_no_fault(layout: Layout) -> None:
    for seed in range(4):
        assert seams.faults(grid(layout, seed), layout) == ()


def test_a_decoder_s_blur_and_a_seam_two_pixels_off_are_no_faults() -> None:
    assert seams.faults(grid(ROWS).filter(ImageFilter.GaussianBlur(1.2)), ROWS) == ()
    assert seams.faults(stacked((258, 254, 256), 512), ROWS) == ()


def test_one_picture_in_place_of_two_panels_is_told() -> None:
    whole = grid(ROWS)
    whole.paste(pictures(1, (512, 512), 7)[0], (0, 0))
    assert seams.faults(whole, ROWS) == ("panels 1 and 2 are one picture",)
    whole = grid(SQUARE)
    whole.paste(pictures(1, (640, 256), 30)[0], (0, 256))
    assert seams.faults(whole, SQUARE) == ("panels 3 and 4 are one picture",)


@pytest.mark.parametrize(("by", "way"), [(32, "down"), (-32, "up"), (16, "down")])
def test_shifted_seams_are_told_with_their_way(by: int, way: str) -> None:
    found = seams.faults(stacked((256 + by, 256, 256 - by), 512), ROWS)
    for between, fault in zip(("1 and 2", "2 and 3"), found, strict=True):
        told = re.fullmatch(rf"the seam between panels {between} is (\d+)% of a panel too far {way}", fault)
        assert told and abs(int(told[1]) / 100 - abs(by) / 256) < 0.01


def test_a_panel_fewer_and_one_more_than_asked_are_malformed() -> None:
    assert {"panels 1 and 2 are one picture", "panels 2 and 3 are one picture"} == {
        *seams.faults(stacked((384, 384), 512), ROWS)
    }
    assert seams.faults(stacked((192,) * 4, 512), ROWS)
    assert seams.faults(stacked((256, 128, 128, 256), 512, 60), ROWS) == (
        "panel 2 is divided from left to right at 50%",
    )


def test_a_blank_panel_is_told_unless_it_was_given() -> None:
    whole = grid(ROWS)
    noise = np.random.default_rng(0).normal(90, 1.5, (256, 512, 3)).astype(np.uint8)
    whole.paste(Image.fromarray(noise), (0, 256))
    assert seams.faults(whole, ROWS) == ("panel 2 is blank",)
    assert seams.faults(whole, ROWS, given=[1]) == ()


def test_where_two_panels_meet_in_one_colour_nothing_is_said_of_their_seam() -> None:
    whole = grid(ROWS)
    whole.paste("white", (0, 200, 512, 300))
    assert seams.faults(whole, ROWS) == ()
