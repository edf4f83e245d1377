"""Burnt-in text is found by what holds still, and told from text of the scene; shots that are text are cards."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest

from miniature import film
from miniature.draw import draw
from miniature.making import postproduction as post
from pipeline.films import lettering
from pipeline.films.lettering import Lettering, Overlay

SIZE = WIDTH, HEIGHT = 640, 360
METHODS = ("plain", "rapidocr")
SPEED = 9
"""Pixels by which the camera moves from one frame to the next."""


@pytest.fixture(scope="module", params=[941_001, 941_006])
def scene(request: pytest.FixtureRequest) -> list[np.ndarray]:
    """Four moments of a shot with a moving camera, RGB."""
    (shot,) = film.script(request.param, shots=1)
    return [post.panned(draw(shot.scene, time=0.3 * t), (SPEED * t, 0)) for t in range(4)]


def find(frames: Sequence[np.ndarray], method: lettering.Method = "plain") -> Lettering:
    """What is found after compression."""
    return lettering.find([np.ascontiguousarray(image[..., ::-1]) for image in post.encoded(frames)], method)


def covered(overlays: Sequence[Overlay], box: post.Box) -> float:
    """Share of a box of pixels that lies in overlays."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    for each in overlays:
        mask[
            int(each.top * HEIGHT) : round(each.bottom * HEIGHT), int(each.left * WIDTH) : round(each.right * WIDTH)
        ] = 1
    left, top, right, bottom = box
    return float(mask[top:bottom, left:right].mean())


@pytest.mark.parametrize("method", METHODS)
def test_a_subtitle_is_found_in_each_frame(scene: list[np.ndarray], method: lettering.Method) -> None:
    frames = [post.lettered(image, ["They will be here at dawn."], (0.5, 0.9), colour=post.YELLOW) for image in scene]
    found = find([image for image, _ in frames], method)
    assert all(covered(found.in_frame(number), box) > 0.7 for number, (_, box) in enumerate(frames))
    assert not found.card


@pytest.mark.parametrize("method", METHODS)
def test_a_shot_without_text_has_none(scene: list[np.ndarray], method: lettering.Method) -> None:
    assert find(scene, method) == Lettering()


@pytest.mark.parametrize("method", METHODS)
def test_a_sign_that_moves_with_the_scene_is_no_overlay(scene: list[np.ndarray], method: lettering.Method) -> None:
    still = post.panned(scene[0], (0, 0))
    signs = [post.panned(post.sign(still, "BAKERY 24", (0.3, 0.3)), (SPEED * t, 0)) for t in range(4)]
    assert find(signs, method) == Lettering()


def test_a_subtitle_that_goes_leaves_frames_without_text(scene: list[np.ndarray]) -> None:
    frames = [
        post.lettered(image, ["Where is it?"], (0.5, 0.9))[0] if t < 2 else image for t, image in enumerate(scene)
    ]
    found = find(frames)
    assert [bool(found.in_frame(number)) for number in range(4)] == [True, True, False, False]


def test_a_subtitle_over_a_picture_that_holds_still_is_known_by_its_look(scene: list[np.ndarray]) -> None:
    frame, box = post.lettered(scene[0], ["Where is it?"], (0.5, 0.9))
    assert covered(find([frame] * 3).in_frame(1), box) > 0.7


def test_a_watermark_that_the_picture_shows_through_is_found(scene: list[np.ndarray]) -> None:
    evening = [post.darkened(image, 0.7) for image in scene]
    frames = [post.lettered(image, ["PREVIEW"], (0.85, 0.08), size=0.06, opacity=0.6) for image in evening]
    found = find([image for image, _ in frames])
    assert covered(found.overlays, frames[0][1]) > 0.6


GROUNDS = {"black": (0, 0, 0), "white": (250, 250, 250), "blue": (30, 40, 110)}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ground", GROUNDS)
def test_titles_and_credits_on_a_plain_ground_are_cards(ground: str, method: lettering.Method) -> None:
    if method == "rapidocr" and ground != "blue":
        pytest.skip("one ground will do for the slower method")
    plain = np.full((HEIGHT, WIDTH, 3), GROUNDS[ground], np.uint8)
    colour = post.BLACK if ground == "white" else post.WHITE
    title, _ = post.lettered(plain, ["A FILM", "by Mara Holm"], (0.5, 0.45), size=0.09, colour=colour, opacity=0.99)
    names = ["Director  Mara Holm", "Camera  Ada Brandt", "Sound  Tom Reyes", "Editing  Li Wen"]
    rolling = [post.lettered(plain, names, (0.5, 0.8 - 0.1 * t), colour=colour, opacity=0.99)[0] for t in range(4)]
    assert find([title] * 3, method).card
    assert find(rolling, method).card
    assert find([plain, title, title, title], method).card  # it fades in


def test_text_over_a_dark_scene_is_no_card(scene: list[np.ndarray]) -> None:
    dark = [post.darkened(image, 0.08, (0.3, 0.4)) for image in scene]
    frames = [post.lettered(image, ["They will be here at dawn."], (0.5, 0.9))[0] for image in dark]
    assert not find(frames).card


def test_rectangles_are_shares_and_large_frames_are_looked_at_small(scene: list[np.ndarray]) -> None:
    frames = [post.lettered(image, ["They will be here at dawn."], (0.5, 0.9))[0] for image in scene]
    large = [np.repeat(np.repeat(image[..., ::-1], 2, axis=0), 2, axis=1) for image in frames]
    assert covered(lettering.find(large).overlays, (240, 315, 400, 333)) > 0.7


@pytest.mark.parametrize("count", [0, 1])
def test_one_frame_or_none_tells_nothing(scene: list[np.ndarray], count: int) -> None:
    assert lettering.find(scene[:count]) == Lettering()


def test_without_the_method_the_detector_is_not_imported() -> None:
    script = "import sys, numpy as np; from pipeline.films import lettering; "
    script += "lettering.find([np.zeros((90, 160, 3), np.uint8)] * 3); "
    script += "print({'rapidocr', 'onnxruntime'} & {*sys.modules})"
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "set()\n"


# ---- what is left without text


def test_the_largest_rectangle_without_overlays_is_kept() -> None:
    subtitle, logo = Overlay(0.2, 0.85, 0.8, 0.95), Overlay(0.9, 0.03, 0.97, 0.1)
    assert lettering.crop([subtitle], 0.5) == (0.0, 0.0, 1.0, 0.85)
    assert lettering.crop([subtitle, logo], 0.5) == (0.0, 0.0, 0.9, 0.85)
    assert lettering.crop([], 0.5) == (0.0, 0.0, 1.0, 1.0)


def test_nothing_is_kept_that_would_be_too_small() -> None:
    middle = Overlay(0.3, 0.45, 0.7, 0.55)
    assert lettering.crop([middle], 0.5) is None
    assert lettering.crop([middle], 0.4) == (0.0, 0.0, 1.0, 0.45)
    assert lettering.crop([Overlay(-0.1, -0.1, 1.2, 1.2)], 0.01) is None
