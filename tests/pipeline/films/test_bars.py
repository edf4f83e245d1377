"""Bars are found over a whole film, and never in a dark picture."""

from __future__ import annotations

from collections.abc import Callable, Collection

import cv2
import numpy as np
import pytest

from miniature import film
from miniature.draw import draw
from miniature.making import postproduction as post
from miniature.making.postproduction import Bars
from pipeline.films.bars import BarFinder, Edges

SIZE = WIDTH, HEIGHT = 640, 360
SHOTS = 8
CINEMA, TELEVISION = Bars(0, 46, 0, 46), Bars(80, 0, 80, 0)
LIGHT: tuple[float, float] = (0.3, 0.35)


@pytest.fixture(scope="module")
def scenes() -> list[list[np.ndarray]]:
    """Three moments of each of a film's shots."""
    return [[draw(shot.scene, time=t / 3) for t in range(3)] for shot in film.script(930_001, shots=SHOTS)]


Judge = Callable[..., list[tuple[int, int, int, int]]]


@pytest.fixture
def boxes(scenes: list[list[np.ndarray]]) -> Judge:
    """What is left of each shot's frames, after bars, darkness, subtitles and compression; in pixels."""

    def boxes(
        bars: Callable[[int], Bars],
        *,
        dark: Collection[int] = (),
        texts: bool = False,
        logo: bool = False,
        shots: int = SHOTS,
        crf: int = 23,
    ) -> list[tuple[int, int, int, int]]:
        rng, frames, owners = np.random.default_rng(0), [], []
        for number, images in enumerate(scenes[:shots]):
            for image in images:
                shown = post.darkened(image, 0.06, LIGHT if number % 2 else None) if number in dark else image
                shown = post.barred(shown, bars(number), rng)
                if texts:
                    lines = ["They will be here at dawn,", "every one of them."][: 1 + number % 2]
                    shown, _ = post.lettered(shown, lines, (0.5, 0.935), size=0.045)
                if logo:
                    shown, _ = post.with_logo(shown, "top right", size=0.05)
                frames.append(shown)
                owners.append(number)
        finder = BarFinder()
        for number, frame in zip(owners, list(post.encoded(frames, crf=crf)), strict=True):
            finder.add(number, np.asarray(cv2.resize(frame[..., ::-1], (512, 288), interpolation=cv2.INTER_AREA)))
        return [finder.edges(number).box(WIDTH, HEIGHT) for number in range(shots)]

    return boxes


def right(found: tuple[int, int, int, int], bars: Bars) -> bool:
    """Whether a box is right to 2 pixels or one in a hundred, and shows nothing of the bars."""
    wanted = (bars.left, bars.top, WIDTH - bars.right, HEIGHT - bars.bottom)
    inwards = (found[0] - wanted[0], found[1] - wanted[1], wanted[2] - found[2], wanted[3] - found[3])
    most = (0.01 * WIDTH, 0.01 * HEIGHT) * 2
    return all(
        0 <= gap <= limit if bar else gap == 0 for gap, limit, bar in zip(inwards, most, astuple(bars), strict=1)
    )


def astuple(bars: Bars) -> tuple[int, int, int, int]:
    return bars.left, bars.top, bars.right, bars.bottom


@pytest.mark.parametrize(
    "bars",
    [
        CINEMA,
        TELEVISION,
        Bars(80, 46, 80, 46),
        Bars(8, 0, 8, 0),
        Bars(219, 0, 219, 0),
        Bars(0, 30, 0, 60),
        Bars(0, 46, 0, 46, colour=(24, 22, 22), noise=5),
        Bars(80, 0, 80, 0, colour=post.WHITE),
        Bars(0, 40, 0, 40, colour=(30, 60, 150)),
    ],
    ids=str,
)
def test_bars_of_every_shape_are_found_in_bright_and_dark_shots(boxes: Judge, bars: Bars) -> None:
    found = boxes(lambda _: bars, dark={2, 5, 6})
    assert [box for box in found if not right(box, bars)] == []


def test_soft_edges_are_cut_off_whole(boxes: Judge) -> None:
    found = boxes(lambda _: Bars(0, 46, 0, 46, soft=1.5), dark={2})
    assert all(46 <= box[1] <= 50 and 310 <= box[3] <= 314 for box in found)


def test_bars_that_vary_are_found_shot_by_shot(boxes: Judge) -> None:
    def bars(shot: int) -> Bars:
        return Bars() if 3 <= shot <= 5 else CINEMA

    found = boxes(bars, dark={1, 4})
    assert [shot for shot in range(SHOTS) if not right(found[shot], bars(shot))] == []


def test_subtitles_and_logos_in_the_bars_do_not_hide_them(boxes: Judge) -> None:
    found = boxes(lambda _: CINEMA, dark={5}, texts=True, logo=True)
    assert [box for box in found if not right(box, CINEMA)] == []


@pytest.mark.parametrize("dark", [(), {2, 5, 6}, range(SHOTS)], ids=["bright", "partly dark", "dark"])
def test_nothing_is_cut_off_a_film_without_bars(boxes: Judge, dark: Collection[int]) -> None:
    assert {*boxes(lambda _: Bars(), dark=dark, texts=True, logo=True)} == {(0, 0, WIDTH, HEIGHT)}


def test_a_film_of_dark_shots_has_its_bars(boxes: Judge) -> None:
    found = boxes(lambda _: CINEMA, dark=range(SHOTS))
    assert [box for box in found if not right(box, CINEMA)] == []


def test_strong_compression_does_not_hide_bars(boxes: Judge) -> None:
    found = boxes(lambda _: CINEMA, dark={2}, crf=38)
    assert [box for box in found if not right(box, CINEMA)] == []


def test_films_of_one_shot_are_judged_by_it(boxes: Judge) -> None:
    assert right(boxes(lambda _: CINEMA, shots=1)[0], CINEMA)
    assert right(boxes(lambda _: TELEVISION, shots=1)[0], TELEVISION)
    assert boxes(lambda _: Bars(), shots=1) == [(0, 0, WIDTH, HEIGHT)]
    assert boxes(lambda _: Bars(), shots=1, dark={0}) == [(0, 0, WIDTH, HEIGHT)]


def test_a_black_shot_and_a_title_have_the_bars_of_the_film(scenes: list[list[np.ndarray]]) -> None:
    finder, rng = BarFinder(), np.random.default_rng(0)
    black = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    title, _ = post.lettered(black, ["THE END"], (0.5, 0.5), size=0.12)
    shots = [post.barred(scenes[0][0], CINEMA, rng), black, title, post.barred(scenes[1][0], CINEMA, rng)]
    for number, image in enumerate(shots):
        finder.add(number, image)
    assert {finder.edges(number) for number in range(4)} == {finder.edges(0)}
    assert finder.edges(0).top == pytest.approx(46 / HEIGHT, abs=0.006)


def test_a_door_into_the_dark_is_no_pillarbox(scenes: list[list[np.ndarray]]) -> None:
    finder = BarFinder()
    door = np.zeros((1, WIDTH, 1), np.uint8)
    door[:, 200:470] = 1
    for number, images in enumerate(scenes):
        for image in images:
            finder.add(number, image * door if number == 3 else image)
    assert not any(finder.edges(number) for number in range(SHOTS))


def test_frames_that_change_their_size_and_shots_without_frames_are_no_trouble(scenes: list[list[np.ndarray]]) -> None:
    finder = BarFinder()
    assert finder.edges(0) == Edges()
    finder.add(0, scenes[0][0])
    finder.add(0, cv2.resize(scenes[0][1], (320, 240)))
    finder.add(2, np.zeros((2, 2, 3), np.uint8))
    assert [finder.edges(number) for number in range(4)] == [Edges()] * 4


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 50), (5, 5)])
def test_tiny_frames_have_no_bars(size: tuple[int, int]) -> None:
    finder = BarFinder()
    finder.add(0, np.zeros((*size, 3), np.uint8))
    assert not finder.edges(0)


def test_the_box_is_rounded_inwards() -> None:
    assert Edges(top=0.1, bottom=0.1).box(640, 360) == (0, 36, 640, 324)
    assert Edges(left=0.001, right=0.001).box(640, 360) == (1, 0, 639, 360)
    assert Edges().box(640, 360) == (0, 0, 640, 360)
