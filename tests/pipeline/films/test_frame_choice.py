"""Which frame stands for a shot."""

from __future__ import annotations

from dataclasses import replace

import av
import filmed
import numpy as np
import pytest

from pipeline.films import choice
from pipeline.films.choice import CANDIDATES, EDGE, Chooser, Frame
from pipeline.films.colour import Orientation, Tags
from pipeline.films.cuts import Cut
from pipeline.films.decoding import State

STEP = 0.04
PLAIN = Frame(
    frame=av.VideoFrame(32, 32, "yuv420p"),
    image=np.zeros((32, 32, 3), np.uint8),
    time=0.0,
    end=STEP,
    state=State.GOOD,
    sharpness=1.0,
    combed=False,
    outlier=False,
    tags=Tags(),
    orientation=Orientation(),
    stretch=1.0,
)


def at(number: int, **more: object) -> Frame:
    return replace(PLAIN, time=number * STEP, end=(number + 1) * STEP, **more)


def best(frames: list[Frame]) -> Frame:
    chooser = Chooser()
    for frame in frames:
        chooser.add(frame)
    return max(chooser.end().candidates, key=lambda frame: frame.rank)


@pytest.mark.parametrize("fault", [{"outlier": True}, {"combed": True}, {"state": State.DOUBTFUL}])
def test_a_good_frame_goes_before_a_sharp_one(fault: dict[str, object]) -> None:
    frames = [at(n, sharpness=90.0, **fault) for n in range(50)]
    frames[20] = at(20, sharpness=1.0)
    assert best(frames) is frames[20]
    assert best([at(n, **fault) for n in range(50)])  # where there is none, such a one is taken


def test_a_shot_of_broken_frames_has_no_candidates() -> None:
    chooser = Chooser()
    for n in range(50):
        chooser.add(at(n, state=State.BROKEN))
    shot = chooser.end()
    assert shot.broken and not shot.candidates


def test_candidates_are_few_spread_out_and_have_the_best_among_them() -> None:
    frames = [at(n, sharpness=float(n * 7919 % 1000)) for n in range(2500)]
    chooser = Chooser()
    for frame in frames:
        chooser.add(frame)
        chooser.settle(frame.time)
    found = chooser.end().candidates
    assert 3 <= len(found) <= CANDIDATES
    assert found[-1].time - found[0].time > 40
    inner = [frame for frame in frames if EDGE <= frame.middle <= 100 - EDGE]
    assert max(found, key=lambda frame: frame.rank).sharpness == max(frame.sharpness for frame in inner)


def test_a_short_shot_keeps_a_frame_of_the_moment_before_a_subtitle_comes() -> None:
    """Frames with letters look sharper, so that of frames far apart none would be without."""
    chooser, text = Chooser(), 10.82
    for n in range(round(10.52 / STEP), round(11.6 / STEP)):
        chooser.add(at(n, sharpness=50.0 + n if n * STEP >= text else 10.0))
    assert any(frame.time < text for frame in chooser.end().candidates)


def test_frames_near_a_cut_or_within_a_transition_stand_for_no_shot() -> None:
    seen: list[tuple[int, float]] = []
    chooser = Chooser(lambda number, frame: seen.append((number, frame.middle)))
    for n in range(100):
        chooser.add(at(n))
    first = chooser.cut(Cut(1.6, 2.4))
    second = chooser.end()
    assert (first.start, first.end, second.start) == (0.0, 1.6, 2.4)
    assert {number for number, _ in seen} == {0, 1}
    assert max(middle for number, middle in seen if number == 0) <= 1.6 - EDGE + 1e-6
    assert min(middle for number, middle in seen if number == 1) >= 2.4 + EDGE - 1e-6


def test_frames_that_wait_are_thinned_out_where_they_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "MOST_HELD", 40 * PLAIN.size)
    chooser = Chooser()
    for n in range(500):
        chooser.add(at(n, sharpness=float(n == 333)))
        assert len(chooser._waiting) <= 41
    assert any(frame.sharpness for frame in chooser.end().candidates)


def test_outliers_differ_from_both_neighbours() -> None:
    still, other = filmed.scene(0), filmed.scene(1)
    assert choice.is_outlier(still, other, still)
    assert not choice.is_outlier(still, other, other) and not choice.is_outlier(still, still, still)


def test_combs_are_found_where_something_moves() -> None:
    """Stripes that stand still are part of the picture."""
    early, late = filmed.scene(0, 0.0), filmed.scene(0, 0.6)
    woven = early.copy()
    woven[1::2] = late[1::2]
    striped = early.copy()
    striped[::2] = 255 - striped[::2]
    lines = [
        choice.lines(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p"))
        for image in (early, late, woven, striped)
    ]
    assert choice.combing(lines[2], lines[0]) > choice.COMBED
    assert choice.combing(lines[1], lines[0]) < choice.COMBED and choice.combing(lines[3], lines[3]) == 0


@pytest.mark.parametrize("kind", ["yuv420p", "yuv420p10le", "nv12", "gray", "yuv422p10be", "yuva444p12le"])
def test_brightness_is_read_of_many_pixel_formats(kind: str) -> None:
    image = np.full((64, 128, 3), 128, np.uint8)
    lines = choice.lines(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=kind))
    assert lines.shape[0] == 64 and abs(int(lines.mean()) - 127) < 4
    assert choice.lines(av.VideoFrame.from_ndarray(image, format="rgb24")) is None
