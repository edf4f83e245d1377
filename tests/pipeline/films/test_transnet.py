"""TransNetV2 as a detector: what is made of its verdicts, picture by picture."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import pytest

from pipeline.films import transnet
from pipeline.films.cuts import Change
from pipeline.films.transnet import TransNet


def changes(monkeypatch: pytest.MonkeyPatch, length: int, marks: Mapping[int, str]) -> list[Change]:
    """What is found in a film whose pictures tell their numbers, where the network marks some as (m)iddle or (p)art."""

    def chances(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        numbers = pictures[:, 0, 0].astype(int) @ [1, 256, 0]
        return tuple(np.array([kind in marks.get(int(one), "") for one in numbers], np.float32) for kind in "mp")

    monkeypatch.setattr(transnet, "_chances", chances)
    detector, found = TransNet(), []
    for number in range(length):
        image = np.full((27, 48, 3), (0, number // 256, number % 256), np.uint8)
        new = detector.add(image, 1)
        assert all(change.before <= detector.decided <= number for change in new)
        found += new
    return found + detector.end()


@pytest.mark.parametrize("length", [40, 100, 163, 300])
def test_every_picture_is_judged_once(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    places = range(3, length - 2, 7)
    found = changes(monkeypatch, length, dict.fromkeys(places, "mp"))
    assert found == [Change(place, place + 1) for place in places]


def test_a_dissolve_reaches_from_its_first_to_its_last_part(monkeypatch: pytest.MonkeyPatch) -> None:
    marks = dict.fromkeys(range(40, 60), "p") | {50: "mp"}
    assert changes(monkeypatch, 200, marks) == [Change(40, 60)]


def test_parts_without_a_middle_are_no_transition(monkeypatch: pytest.MonkeyPatch) -> None:
    assert changes(monkeypatch, 200, dict.fromkeys(range(40, 60), "p")) == []


def test_a_film_of_one_picture_has_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    assert changes(monkeypatch, 1, {}) == [] and TransNet().end() == []


def test_a_picture_that_is_held_changes_where_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transnet, "_chances", lambda seen: ((seen[:, 0, 0, 0] == 5).astype(np.float32),) * 2)
    detector, found = TransNet(), []
    for number in range(30):
        found += detector.add(np.full((27, 48, 3), number, np.uint8), 7)
    assert found + detector.end() == [Change(5, 6)]


def test_a_fade_that_the_network_does_not_see_is_found_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        transnet, "_chances", lambda seen: (np.isin(seen[:, -1, -1, 2], (254, 255)).astype(np.float32),) * 2
    )
    rng = np.random.default_rng(0)
    first, second = (cv2.resize(rng.integers(20, 240, (4, 6, 3)).astype(np.uint8), (48, 27)) for _ in range(2))
    down, up = ([(image * n / 10).astype(np.uint8) for n in range(10)] for image in (first, second))
    images = [*[first] * 40, *down[::-1], *[np.zeros_like(first)] * 4, *up, *[second] * 200]
    for number, mark in ((20, 255), (120, 254)):  # marked for the network
        images[number] = images[number].copy()
        images[number][-1, -1] = mark
    detector, found = TransNet(), []
    for image in images:
        found += detector.add(image, 1)
        assert all(change.before <= detector.decided for change in found)
    cut, fade, other = found + detector.end()
    assert (cut, other) == (Change(20, 21), Change(120, 121))
    assert fade.blank and 40 < fade.before < 52 and 52 < fade.after < 64
