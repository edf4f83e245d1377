"""Which frame is picked where shots have nothing in them, or burnt-in text, and what is cut away."""

from __future__ import annotations

from dataclasses import replace

import av
import filmed
import numpy as np
import pytest

from pipeline.films import hygiene, lettering
from pipeline.films.bars import BarFinder, Edges
from pipeline.films.choice import Frame, Shot
from pipeline.films.colour import Orientation, Tags
from pipeline.films.decoding import State
from pipeline.films.hygiene import Cleaner, Pick, Unfit, pick
from pipeline.films.lettering import Lettering, Overlay
from pipeline.task import ShotsSection

BELOW = Overlay(0.2, 0.85, 0.8, 0.95)
MIXED = ShotsSection()


def frame(image: np.ndarray, time: float = 1.0, **more: object) -> Frame:
    stored = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    seen = np.ascontiguousarray(image[:, :, ::-1])
    plain = Frame(stored, seen, time, time + 0.04, State.GOOD, 1.0, False, False, Tags(), Orientation(), 1.0)
    return replace(plain, **more)


def shot(*frames: Frame, broken: bool = False) -> Shot:
    return Shot(3, 0.0, 9.0, frames, broken)


def scenes(count: int = 3) -> list[Frame]:
    return [frame(filmed.scene(0, time), 1.0 + time, sharpness=time) for time in range(count)]


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch):
    """Sets what is found of burnt-in text."""

    def says(found: Lettering) -> None:
        monkeypatch.setattr(lettering, "find", lambda frames, method: found)

    return says


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (shot(), "short shot"),
        (shot(broken=True), "damaged"),
        (shot(frame(np.zeros((108, 192, 3), np.uint8)), frame(np.full((108, 192, 3), 255, np.uint8))), "blank"),
    ],
)
def test_a_shot_without_a_picture_says_why(given: Shot, reason: str) -> None:
    found = pick(given, MIXED)
    assert isinstance(found, Unfit) and found.reason == reason
    assert reason != "blank" or found.detail == "shows nothing: black or white"


def test_empty_frames_are_passed_over(says) -> None:
    says(Lettering())
    empty = frame(np.zeros((108, 192, 3), np.uint8), sharpness=99.0)
    full = frame(filmed.scene(0))
    assert pick(shot(empty, full), MIXED) == Pick(full)


def test_a_card_is_no_picture(says) -> None:
    says(Lettering(card=True))
    assert pick(shot(*scenes()), MIXED).reason == "text card"
    assert pick(shot(*scenes()), ShotsSection(lettering="keep")).reason == "text card"


def test_a_frame_without_text_goes_before_a_sharper_one(says) -> None:
    frames = scenes()
    says(Lettering((replace(BELOW, frames=(1, 2)),)))
    assert pick(shot(*frames), MIXED) == Pick(frames[0])
    assert pick(shot(*frames), ShotsSection(lettering="keep")) == Pick(frames[2])


def test_damage_is_worse_than_text(says) -> None:
    frames = [replace(one, state=state) for one, state in zip(scenes(2), (State.DOUBTFUL, State.GOOD), strict=True)]
    text = replace(BELOW, frames=(1,))
    says(Lettering((text,)))
    assert pick(shot(*frames), MIXED) == Pick(frames[1], (text,))


def test_frames_of_several_sizes_can_be_compared() -> None:
    frames = [frame(filmed.scene(0, size=size)) for size in ((192, 108), (128, 108), (192, 108))]
    assert isinstance(pick(shot(*frames), MIXED), Pick)


def finished(settings: ShotsSection, *overlays: Overlay, edges: Edges | None = None, state: State = State.GOOD):
    cleaner = Cleaner(settings)
    image = filmed.scene(0, size=(400, 300))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BarFinder, "edges", lambda self, shot: edges or Edges())
        return cleaner.finish(0, image, overlays, state)


def test_text_that_stays_is_told_and_cut_away_where_that_is_wanted() -> None:
    image, notes = finished(MIXED, BELOW)
    assert (image.shape, notes) == ((300, 400, 3), ("burnt-in text at the bottom",))
    image, notes = finished(ShotsSection(lettering="crop"), BELOW)
    assert (image.shape, notes) == ((255, 400, 3), ("burnt-in text cut away: 45 px at the bottom",))


def test_text_within_bars_goes_with_them() -> None:
    image, notes = finished(MIXED, BELOW, edges=Edges(top=0.1, bottom=0.2))
    assert image.shape == (210, 400, 3)
    assert notes == ("bars cut away: 30 px at the top, 60 px at the bottom",)


def test_text_in_the_middle_is_not_cut_away() -> None:
    middle = Overlay(0.1, 0.4, 0.9, 0.6)
    image, notes = finished(ShotsSection(lettering="crop"), middle)
    assert (image.shape, notes) == ((300, 400, 3), ("burnt-in text in the middle",))


def test_a_logo_is_told_with_its_corner() -> None:
    assert finished(MIXED, Overlay(0.02, 0.02, 0.1, 0.08))[1] == ("burnt-in text at the top left",)


def test_what_follows_damage_is_told() -> None:
    assert finished(MIXED, state=State.DOUBTFUL)[1] == ("follows damage in its film",)


def test_bars_are_looked_for_a_few_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(BarFinder, "add", lambda self, shot, image: seen.append(shot))
    cleaner, idle = Cleaner(MIXED), Cleaner(ShotsSection(bars=False))
    one = frame(filmed.scene(0))
    for n in range(100):
        for each in (cleaner, idle):
            each.watch(n // 50, replace(one, time=n / 25))
    assert 4 * 2 <= len(seen) <= 8 * 2 and sorted(seen) == seen


def test_hygiene_sees_pictures_upright(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[tuple[int, ...]] = []
    monkeypatch.setattr(BarFinder, "add", lambda self, shot, image: shapes.append(image.shape))
    monkeypatch.setattr(hygiene.lettering, "find", lambda frames, method: shapes.append(frames[0].shape) or Lettering())
    turned = frame(filmed.scene(0), orientation=Orientation(turns=1))
    Cleaner(MIXED).watch(0, turned)
    pick(shot(turned), MIXED)
    assert shapes == [(192, 108, 3)] * 2
