"""Pictures without content are told from dark, pale and plain ones."""

from __future__ import annotations

from collections.abc import Callable

import av.filter
import cv2
import numpy as np
import pytest
from PIL import Image

from miniature.draw import draw as draw_scene
from miniature.film import script
from miniature.making import postproduction as post
from pipeline.films.blanks import blank

SIZE = (360, 640)
RNG = np.random.default_rng(7)


def plain(*colour: float) -> np.ndarray:
    return np.full((*SIZE, 3), colour, np.float32)


def noisy(image: np.ndarray, sigma: float) -> np.ndarray:
    return np.clip(image + RNG.normal(0, sigma, image.shape), 0, 255).astype(np.uint8)


def ramp(low: float, high: float) -> np.ndarray:
    return plain(0, 0, 0) + np.linspace(low, high, SIZE[1], dtype=np.float32)[None, :, None]


def vignette() -> np.ndarray:
    y, x = np.mgrid[-1 : 1 : SIZE[0] * 1j, -1 : 1 : SIZE[1] * 1j]
    return plain(0, 0, 0) + (200 - 60 * (x * x + y * y))[..., None]


def card_of(name: str) -> np.ndarray:
    """A test card as libav draws it, BGR."""
    graph = av.filter.Graph()
    source, sink = graph.add(name, "s=640x360"), graph.add("buffersink")
    form = graph.add("format", "pix_fmts=bgr24")
    source.link_to(form)
    form.link_to(sink)
    graph.configure()
    return graph.pull().to_ndarray()


def scene(number: int) -> np.ndarray:
    return draw_scene(script(900_000 + number, shots=1)[0].scene, time=0.5)[..., ::-1]


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (plain(0, 0, 0), "black"),
        (noisy(plain(6, 6, 6), 4), "black"),
        (noisy(plain(24, 22, 20), 8), "black"),
        (plain(255, 255, 255), "white"),
        (noisy(plain(246, 247, 248), 3), "white"),
        (plain(120, 90, 60), "flat"),
        (noisy(plain(120, 90, 60), 12), "flat"),
        (ramp(20, 230), "flat"),
        (noisy(ramp(90, 160), 4), "flat"),
        (vignette(), "flat"),
        (noisy(plain(128, 128, 128), 70), "flat"),  # a channel without a signal
    ],
)
def test_what_shows_nothing_is_blank(image: np.ndarray, kind: str) -> None:
    assert blank(image.astype(np.uint8)) == kind


@pytest.mark.parametrize("name", ["smptebars", "smptehdbars", "pal75bars", "pal100bars", "testsrc"])
def test_colour_bars_are_a_test_card_also_after_compression(name: str) -> None:
    card = card_of(name)
    assert blank(card) == "test card"
    (coded,) = post.encoded([np.ascontiguousarray(card[..., ::-1])], crf=35)
    assert blank(coded[..., ::-1]) == "test card"


def test_bars_in_a_round_card_are_found() -> None:
    card = np.full((*SIZE, 3), 110, np.uint8)
    card[::30], card[:, ::30] = 235, 235
    disc = cv2.circle(np.zeros(SIZE, np.uint8), (320, 180), 165, 1, -1) > 0
    card[disc] = 60
    for number, on in enumerate([(0, 1, 1), (1, 1, 0), (0, 1, 0), (1, 0, 1), (0, 0, 1), (1, 0, 0)]):
        card[140:190, 200 + 40 * number : 240 + 40 * number] = np.asarray(on) * 190
    assert blank(card) == "test card"


@pytest.mark.parametrize("number", range(6))
def test_a_scene_is_not_blank_by_day_or_night_or_in_fog(number: int) -> None:
    image = scene(number)
    assert blank(image) == ""
    night = post.darkened(image, 0.06)
    assert night.mean() < 0.04 * 255
    assert blank(night) == ""
    assert blank(noisy(night, 4)) == ""
    assert blank(post.darkened(image, 0.0, (0.3, 0.4))) == ""
    assert blank((0.08 * image + 190).astype(np.uint8)) == ""  # fog
    assert blank((0.08 * image + 232).astype(np.uint8)) == ""  # snow


def test_a_candle_in_the_dark_is_content() -> None:
    image = plain(2, 2, 2).astype(np.uint8)
    cv2.circle(image, (420, 200), 6, (90, 160, 220), -1)
    assert blank(noisy(image, 3)) == ""


def test_a_plain_cartoon_and_a_line_drawing_are_content() -> None:
    cartoon = plain(230, 210, 120).astype(np.uint8)
    cv2.circle(cartoon, (300, 200), 40, (40, 60, 200), -1)
    assert blank(cartoon) == ""
    drawing = plain(255, 255, 255).astype(np.uint8)
    cv2.ellipse(drawing, (320, 180), (120, 80), 10, 0, 300, (20, 20, 20), 2, cv2.LINE_AA)
    assert blank(drawing) == ""


def test_coloured_patches_are_no_test_card() -> None:
    colours = [(200, 40, 40), (40, 180, 60), (50, 60, 210), (255, 255, 255), (128, 128, 128), (230, 200, 40)]
    patches = np.zeros((*SIZE, 3), np.uint8)
    for number, colour in enumerate(colours):
        row, column = divmod(number, 3)
        patches[row * 180 : row * 180 + 180, column * 213 : column * 213 + 214] = colour
    assert blank(patches) == ""


@pytest.mark.parametrize("size", [(1, 1), (2, 700), (700, 2), (64, 64), (3000, 40)])
def test_pictures_of_any_size_are_judged(size: tuple[int, int], draw: Callable[..., Image.Image]) -> None:
    assert blank(np.zeros((*size, 3), np.uint8)) == "black"
    assert isinstance(blank(np.asarray(draw(1, size[::-1]))), str)
