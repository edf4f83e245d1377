"""Frames as pictures: colours, transparency, which way up, and size in memory."""

from __future__ import annotations

import av
import filmed
import numpy as np
import pytest

from pipeline.films import colour
from pipeline.films.colour import HLG, LINEAR, PQ, Orientation, Tags


def grey(code: float, kind: str = "rgb48le") -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.full((8, 8, 3), round(code * 65535), np.uint16), format=kind)


def shade(frame: av.VideoFrame, tags: Tags) -> int:
    return int(colour.picture(frame, tags, (8, 8))[4, 4, 1])


@pytest.mark.parametrize(
    ("tags", "code", "shown"),
    [
        (Tags(9, PQ), 0.5806, 255),  # 203 nits, diffuse white (BT.2408)
        (Tags(9, HLG), 0.75, 255),
        (Tags(9, PQ), 0.0, 0),
        (Tags(1, LINEAR), 0.2140, 128),
        (Tags(9, 14), 0.5, 128),  # BT.2020 with an ordinary curve: greys stay as they are
        (Tags(12, 13), 0.5, 128),
        (Tags(1, 1), 0.5, 128),
    ],
)
def test_greys_are_those_of_srgb(tags: Tags, code: float, shown: int) -> None:
    assert shade(grey(code), tags) == pytest.approx(shown, abs=1)


def test_highlights_are_rolled_off_and_stay_in_order() -> None:
    ramp = np.repeat(np.linspace(0, 0.7518, 256)[None, :, None] * 65535, 3, axis=2).round().astype(np.uint16)
    frame = av.VideoFrame.from_ndarray(np.repeat(ramp, 8, axis=0), format="rgb48le")  # up to 1,000 nits
    row = colour.picture(frame, Tags(9, PQ), (256, 8))[4, :, 1].astype(int)
    assert (np.diff(row) >= 0).all() and row[-1] == 255
    white = row[round(0.5806 / 0.7518 * 255)]
    assert 215 <= white < 255  # room is left for what is brighter


def test_a_colour_of_a_wide_gamut_keeps_its_hue() -> None:
    pixels = np.zeros((8, 8, 3), np.uint16)
    pixels[..., 1] = 65535  # the green of BT.2020, which sRGB can't show
    blue, green, red = colour.picture(av.VideoFrame.from_ndarray(pixels, format="rgb48le"), Tags(9, 14), (8, 8))[4, 4]
    assert green > 200 and max(red, blue) < 150


def test_a_film_that_tells_no_matrix_has_that_of_its_size() -> None:
    """As players assume: BT.709 from 720 lines on, BT.601 below."""
    for size, matrix in (((640, 360), 5), ((1280, 720), 1)):
        red = np.zeros((size[1], size[0], 3), np.uint8)
        red[:] = (200, 40, 40)
        frame = av.VideoFrame.from_ndarray(red, format="rgb24").reformat(format="yuv420p", dst_colorspace=matrix)
        frame.colorspace = 2
        shown = colour.picture(frame, Tags(), size)[100, 100]
        assert abs(shown.astype(int) - (40, 40, 200)).max() <= 4


@pytest.mark.parametrize("kind", ["rgba", "rgba64le"])
def test_half_transparent_colours_are_laid_on_white(kind: str) -> None:
    most = 255 if kind == "rgba" else 65535
    pixels = np.zeros((8, 8, 4), np.uint8 if kind == "rgba" else np.uint16)
    pixels[..., 0], pixels[..., 3] = most, most // 2
    shown = colour.picture(av.VideoFrame.from_ndarray(pixels, format=kind), Tags(), (8, 8))[4, 4]
    assert abs(shown.astype(int) - (128, 128, 255)).max() <= 2


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turns", range(4))
def test_orientation_is_undone(mirrored: bool, turns: int) -> None:
    upright = filmed.scene(0)
    lying = np.rot90(upright, turns)
    lying = lying[:, ::-1] if mirrored else lying
    assert (Orientation(mirrored, turns).apply(lying) == upright).all()


def test_a_frame_is_made_smaller_in_its_own_format() -> None:
    frame = av.VideoFrame.from_ndarray(filmed.scene(0), format="rgb24").reformat(format="yuva444p10le")
    small = colour.smaller(frame, 192 * 108 * 2)
    assert small.format.name == "yuva444p10le" and sum(plane.buffer_size for plane in small.planes) < 192 * 108 * 3
    assert colour.smaller(frame, 1 << 30) is frame


@pytest.mark.parametrize(("stretch", "width"), [(1.0, 720), (16 / 15, 768), (64 / 45, 1024), (1000.0, 720), (0.0, 720)])
def test_pixels_are_made_square(stretch: float, width: int) -> None:
    assert colour.stretched((720, 576), stretch) == (width, 576)
