"""PNG files of our own keep every pixel, whatever the picture, and are checked to their last byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.pixels import open_image, png

RNG = np.random.default_rng(0)
PICTURES = {
    "noise": RNG.integers(0, 256, (96, 130, 3), np.uint8),
    "grey": np.full((64, 64, 3), 127, np.uint8),
    "ramp": np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (40, 1, 3)),
    "one pixel": np.array([[[1, 2, 3]]], np.uint8),
    "extremes": np.where(RNG.random((50, 70, 3)) < 0.5, 0, 255).astype(np.uint8),
}


@pytest.mark.parametrize("name", PICTURES)
def test_every_pixel_is_kept_and_nothing_else(name: str, tmp_path: Path) -> None:
    picture = Image.fromarray(PICTURES[name])
    content = png.encode(picture)
    assert content == png.encode(picture)
    file = tmp_path / "a.png"
    file.write_bytes(content)
    assert open_image(file).tobytes() == picture.tobytes()
    with Image.open(file) as opened:
        assert (opened.mode, opened.size, opened.info) == ("RGB", picture.size, {})


def test_only_a_whole_rgb_picture_of_the_right_size_passes(tmp_path: Path) -> None:
    file, picture = tmp_path / "a.png", Image.fromarray(PICTURES["noise"])
    content = png.encode(picture)
    file.write_bytes(content)
    assert png.check(file, picture.size) and not png.check(file, (130, 97))
    for place in (3, len(content) // 2, len(content) - 15):
        turned = bytearray(content)
        turned[place] ^= 1
        file.write_bytes(turned)
        assert png.check(file, picture.size) is None
    for kind, mode in (("PNG", "L"), ("BMP", "RGB")):
        picture.convert(mode).save(file, kind)
        assert png.check(file, picture.size) is None
    assert png.check(tmp_path / "none.png", picture.size) is None
