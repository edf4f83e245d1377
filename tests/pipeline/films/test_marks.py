"""Logos and watermarks are what different shots have in common."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from miniature import film
from miniature.draw import draw
from miniature.making import postproduction as post
from pipeline.films.bars import Edges
from pipeline.films.marks import MarkFinder

SHOTS = 18
SMALL = (512, 288)


@pytest.fixture(scope="module")
def scenes() -> list[list[np.ndarray]]:
    return [[draw(shot.scene, time=t / 2) for t in range(2)] for shot in film.script(960_001, shots=SHOTS)]


def finder_of(frames: list[list[np.ndarray]], finder: MarkFinder | None = None) -> MarkFinder:
    finder, coded = finder or MarkFinder(), post.encoded([image for images in frames for image in images])
    for number, images in enumerate(frames):
        for _ in images:
            small = cv2.resize(next(coded)[..., ::-1], SMALL, interpolation=cv2.INTER_AREA)
            finder.add(number, np.asarray(small, np.uint8))
    return finder


@pytest.mark.parametrize("opacity", [1.0, 0.5, 0.3])
def test_a_logo_without_letters_is_found(scenes: list[list[np.ndarray]], opacity: float) -> None:
    laid = [[post.with_logo(image, "top right", size=0.07, opacity=opacity) for image in images] for images in scenes]
    finder = finder_of([[image for image, _ in images] for images in laid])
    left, top, right, bottom = laid[0][0][1]
    seen = [finder.overlays(number) for number in range(SHOTS)]
    assert sum(map(bool, seen)) >= SHOTS - 1
    for one in {one for found in seen for one in found}:
        assert left - 16 <= one.left * 640 <= one.right * 640 <= right + 16
        assert top - 16 <= one.top * 360 <= one.bottom * 360 <= bottom + 16


@pytest.mark.parametrize("opacity", [1.0, 0.3])
def test_a_few_shots_of_a_moving_camera_tell_a_logo(scenes: list[list[np.ndarray]], opacity: float) -> None:
    """The logo is nearly all that holds still; that does not make them shots of one set."""
    moved = [[post.panned(image, (6 * n, 2 * n)) for n, image in enumerate(images)] for images in scenes[:6]]
    laid = [
        [post.with_logo(image, "bottom right", size=0.07, opacity=opacity)[0] for image in images] for images in moved
    ]
    finder = finder_of(laid)
    assert sum(bool(finder.overlays(number)) for number in range(6)) >= 5
    finder = finder_of(moved)
    assert [finder.overlays(number) for number in range(6)] == [()] * 6


@pytest.mark.parametrize("bars", [post.Bars(80, 0, 80, 0), post.Bars(0, 46, 0, 46), post.Bars(80, 46, 80, 46)])
def test_a_logo_between_bars_is_found(scenes: list[list[np.ndarray]], bars: post.Bars) -> None:
    """The edges of bars are in all shots, which without them show different sets."""
    rng, down = np.random.default_rng(0), slice(bars.top, 360 - bars.bottom)
    across, laid = slice(bars.left, 640 - bars.right), []
    for images in scenes:
        laid.append([post.barred(image, bars, rng) for image in images])
        for image in laid[-1]:
            image[down, across] = post.with_logo(image[down, across], "top right", size=0.08)[0]
    edges = Edges(bars.left / 640, bars.top / 360, bars.right / 640, bars.bottom / 360)
    finder = finder_of(laid, MarkFinder(lambda _: edges))
    seen = [finder.overlays(number) for number in range(SHOTS)]
    assert sum(len(found) == 1 for found in seen) >= SHOTS - 1
    assert all(one.left > 0.6 and one.bottom < 0.4 for found in seen for one in found)


def test_titles_and_black_between_the_scenes_do_not_hide_a_logo(scenes: list[list[np.ndarray]]) -> None:
    black, rng = np.zeros((360, 640, 3), np.uint8), np.random.default_rng(1)
    frames, titles = [], []
    for images in scenes[:12]:
        if rng.random() < 0.8:
            titles.append(len(frames))
            words = "".join(chr(97 + int(letter)) for letter in rng.integers(0, 26, 12))
            frames.append([post.lettered(black, [words], (0.5, 0.5), size=0.1)[0]] * 2)
        frames.append([post.with_logo(image, "top right", size=0.08)[0] for image in images])
    finder = finder_of(frames)
    for number in titles:
        finder.leave_out(number)
    assert len(titles) >= 8
    assert {number for number in range(len(frames)) if not finder.overlays(number)} == set(titles)


def test_shots_that_lack_the_logo_are_known(scenes: list[list[np.ndarray]]) -> None:
    lacking = {2, 11, 12}
    laid = [
        [image if number in lacking else post.with_logo(image, "top right", size=0.07)[0] for image in images]
        for number, images in enumerate(scenes)
    ]
    finder = finder_of(laid)
    assert {number for number in range(SHOTS) if not finder.overlays(number)} == lacking


def test_a_film_without_marks_has_none_with_bars_or_without(scenes: list[list[np.ndarray]]) -> None:
    rng = np.random.default_rng(0)
    barred = [[post.barred(image, post.Bars(0, 46, 0, 46), rng) for image in images] for images in scenes]
    for frames in (scenes, barred):
        finder = finder_of(frames)
        assert [finder.overlays(number) for number in range(SHOTS)] == [()] * SHOTS


def test_one_set_seen_from_one_place_tells_nothing(scenes: list[list[np.ndarray]]) -> None:
    finder = finder_of([scenes[0]] * SHOTS)
    assert finder.overlays(0) == ()


def test_few_shots_and_none_tell_nothing(scenes: list[list[np.ndarray]]) -> None:
    laid = [[post.with_logo(image, "top left")[0] for image in images] for images in scenes[:3]]
    assert finder_of(laid).overlays(0) == ()
    assert MarkFinder().overlays(0) == ()
