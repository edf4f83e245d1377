"""The drawn world from outside: only pictures, decoded films and the truth files. About 10 s on one core."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from itertools import combinations, pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from scenedetect import AdaptiveDetector, detect

from miniature import draw as drawing
from miniature.draw import draw
from miniature.film import (
    HELD_OUT_SEED,
    OFFLINE_SEED,
    picture,
    script,
    truth_path,
    write_film,
    write_films,
    write_pairs,
    write_sets,
)
from miniature.world import ACTIONS, COLOURS, KINDS, PLACES, SHOTS, WORN, Character, Scene

SMALL = (320, 180)
SCENE = Scene(Character("bear", "blue", "hat"), "farm", "balloon", "medium", seed=5)
VALUES = {"kind": KINDS, "colour": COLOURS, "worn": WORN, "place": PLACES, "action": ACTIONS, "shot": SHOTS}


def scene_with(attribute: str, value: str, scene: Scene = SCENE) -> Scene:
    if attribute in (field.name for field in fields(Character)):
        return replace(scene, character=replace(scene.character, **{attribute: value}))
    return replace(scene, **{attribute: value})


def changed(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Where two pictures differ visibly (by more than 40 of 255 in a channel)."""
    return (cv2.absdiff(one, other) > 40).any(axis=2)


def panel(frame: np.ndarray) -> np.ndarray:
    """The centred 2:1 part, as in a storyboard's panel."""
    height, width = frame.shape[:2]
    top = (height - width // 2) // 2
    return frame[top : height - top]


@pytest.fixture(scope="module")
def held_out(tmp_path_factory) -> Path:
    return write_film(tmp_path_factory.mktemp("films") / "held-out.mp4", HELD_OUT_SEED)


def told(film: Path) -> dict:
    return json.loads(truth_path(film).read_text(encoding="utf-8"))


def decoded(film: Path) -> list[np.ndarray]:
    with av.open(str(film)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_everything_in_the_world_can_be_drawn():
    for drawn, named in (
        (drawing.PLACE, PLACES),
        (drawing.KIND, KINDS),
        (drawing.PROP, ACTIONS),
        (drawing.FILLS, COLOURS),
        (drawing.FRAMINGS, SHOTS),
    ):
        assert set(drawn) == set(named)


@pytest.mark.parametrize("size", [(640, 360), (256, 128), (512, 512), (320, 640)])
def test_a_picture_has_the_requested_size_and_the_same_scene_gives_the_same_pixels(size):
    image = draw(SCENE, time=0.4, size=size)
    assert image.shape == (size[1], size[0], 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, draw(SCENE, time=0.4, size=size))


# A place or shot size changes most of the picture, a colour the whole figure, the rest a part of it. Minimum shares of
# the 2:1 panel, in a wide shot, where everything is smallest.
@pytest.mark.parametrize(
    ("attribute", "least"),
    [("kind", 0.008), ("colour", 0.02), ("worn", 0.008), ("action", 0.015), ("place", 0.4), ("shot", 0.3)],
)
def test_any_two_values_of_an_attribute_look_different_in_the_panel(attribute, least):
    wide = replace(SCENE, shot="wide")
    panels = {value: panel(draw(scene_with(attribute, value, wide), size=SMALL)) for value in VALUES[attribute]}
    for one, other in combinations(panels, 2):
        share = changed(panels[one], panels[other]).mean()
        assert share >= least, f"{one} and {other} differ in {share:.3f} of the panel"


@pytest.mark.parametrize("shot", SHOTS)
@pytest.mark.parametrize("kind", KINDS)
def test_clothing_and_props_lie_inside_the_panel(kind, shot):
    scene = Scene(Character(kind, "green", "hat"), "moon", "book", shot, seed=11)

    def difference(attribute: str, one: str, other: str) -> np.ndarray:
        return changed(*(draw(scene_with(attribute, value, scene), size=SMALL) for value in (one, other)))

    for action in ("balloon", "umbrella", "guitar", "flag"):
        held = difference("action", "book", action)
        assert panel(held).sum() >= 0.95 * held.sum()
        assert panel(held).mean() >= 0.015
    worn = difference("worn", "hat", "crown")
    assert panel(worn).sum() >= 0.95 * worn.sum()
    # what hangs from the neck leaves a close-up at the lower edge, as it should
    for one, other in combinations(WORN, 2):
        assert panel(difference("worn", one, other)).mean() >= 0.008


def test_a_mirrored_scene_has_its_prop_on_the_other_side():
    def prop_columns(mirrored: bool) -> np.ndarray:
        scene = replace(SCENE, mirrored=mirrored)
        return np.nonzero(changed(draw(scene), draw(replace(scene, action="drum"))))[1]

    assert prop_columns(mirrored=False).min() > 320 > prop_columns(mirrored=True).max()


@pytest.mark.parametrize("shot", SHOTS)
def test_a_shot_moves_smoothly(shot):
    frames = [draw(replace(SCENE, shot=shot), time=i / 12, size=SMALL) for i in range(22)]
    steps = [cv2.absdiff(a, b).mean() for a, b in pairwise(frames)]
    assert min(steps) > 0.1
    assert max(steps) < 12
    assert changed(frames[0], frames[-1]).mean() > 0.02


def test_a_script_makes_neighbouring_shots_distinguishable_and_dissolves_at_least_once():
    for seed in range(HELD_OUT_SEED, HELD_OUT_SEED + 50):
        film = script(seed)
        assert len(film) == 24
        assert any(shot.dissolve for shot in film)
        assert 1 <= len({shot.scene.character for shot in film}) <= 2
        for before, after in pairwise(film):
            one, other = before.scene, after.scene
            assert (one.shot, one.character) != (other.shot, other.character)
            assert 0.9 <= after.seconds - after.dissolve <= 1.8
    assert len({shot.scene.place for shot in film}) > 1


def test_the_offline_run_and_the_held_out_films_share_no_shot():
    offline = {shot.scene for seed in range(OFFLINE_SEED, OFFLINE_SEED + 50) for shot in script(seed)}
    held_out = {shot.scene for seed in range(HELD_OUT_SEED, HELD_OUT_SEED + 50) for shot in script(seed)}
    assert not offline & held_out


def test_the_same_seed_gives_the_same_bytes_and_another_seed_gives_others(tmp_path):
    films = [
        write_film(tmp_path / f"{name}.mp4", seed, shots=3, size=SMALL)
        for name, seed in (("one", 1), ("again", 1), ("other", 2))
    ]
    one, again, other = (film.read_bytes() for film in films)
    assert one == again != other
    assert told(films[0]) == told(films[1]) != told(films[2])


def test_ground_truth_and_decoded_film_agree(held_out):
    truth, frames = told(held_out), decoded(held_out)
    shots = truth["shots"]
    assert len(frames) == round(shots[-1]["end"] * truth["fps"])
    assert frames[0].shape == (360, 640, 3)
    assert [shot["start"] for shot in shots] == [0.0, *(shot["end"] for shot in shots[:-1])]
    for shot, made in zip(shots, script(HELD_OUT_SEED), strict=True):
        assert shot["sentence"].endswith(PLACES[shot["place"]])
        last = round(shot["end"] * truth["fps"]) - 1
        own = draw(made.scene, time=last / truth["fps"] - shot["start"])
        assert cv2.absdiff(frames[last], own).mean() < 6  # lost to the codec


def test_a_cut_detector_finds_the_hard_cuts_and_nothing_else(held_out):
    shots = told(held_out)["shots"]
    # the shortest shot lasts 0.9 s; PySceneDetect's default of 15 frames would be 1.25 s at 12 frames per second
    scenes = detect(str(held_out), AdaptiveDetector(adaptive_threshold=3.5, min_scene_len=7))
    detected = [start.seconds for start, _ in scenes[1:]]
    cuts = [shot["start"] for shot in shots if shot["transition"] == "cut"]
    seen = [cut for cut in cuts if any(abs(cut - time) < 0.09 for time in detected)]
    dissolves = [shot for shot in shots if shot["transition"] == "dissolve"]
    assert dissolves
    assert len(seen) >= 0.9 * len(cuts)
    assert len(detected) - len(seen) <= len(dissolves)


def test_complete_films_are_left_alone_and_incomplete_ones_are_written_again(tmp_path):
    told_of: list[tuple[str, int, int]] = []

    def films() -> list[Path]:
        return write_films(
            tmp_path, films=2, seed=OFFLINE_SEED, shots=2, size=SMALL, progress=lambda *done: told_of.append(done)
        )

    first, second = films()
    assert told_of == [("drawing", done, 2) for done in (0, 1, 2)]
    assert [first.name, second.name] == ["film-0001.mp4", "film-0002.mp4"]
    made, whole = first.stat().st_mtime_ns, second.read_bytes()
    second.unlink()
    films()
    assert first.stat().st_mtime_ns == made
    assert second.read_bytes() == whole
    assert not list(tmp_path.glob("*.part"))
    write_film(first, OFFLINE_SEED + 7, shots=2, size=SMALL)
    assert told(first)["seed"] == OFFLINE_SEED + 7
    assert first.stat().st_mtime_ns != made


def test_an_odd_size_is_refused_and_the_value_is_named(tmp_path):
    with pytest.raises(ValueError, match="641x360"):
        write_film(tmp_path / "film.mp4", 1, size=(641, 360))


def test_a_picture_on_disk_shows_the_scene(tmp_path):
    path = picture(SCENE, tmp_path / "scene.png", SMALL)
    np.testing.assert_array_equal(cv2.imread(str(path))[:, :, ::-1], draw(SCENE, size=SMALL))


def test_a_pair_differs_only_in_what_its_ground_truth_names(tmp_path):
    paths = write_pairs(tmp_path, pairs=4, seed=3, size=SMALL)
    assert [path.name for path in paths[:2]] == ["0001_before.png", "0001_after.png"]
    rows = json.loads((tmp_path / "truth.json").read_text(encoding="utf-8"))["pairs"]
    for row, before, after in zip(rows, paths[::2], paths[1::2], strict=True):
        other = {key for key in row["before"] if row["before"][key] != row["after"][key]}
        assert other == {row["changed"], "sentence"}
        share = changed(cv2.imread(str(before)), cv2.imread(str(after))).mean()
        assert 0.003 < share < 0.4


def test_a_set_shows_one_character_in_different_scenes(tmp_path):
    paths = write_sets(tmp_path, sets=2, pictures=4, seed=3, size=(256, 256))
    assert [str(path.relative_to(tmp_path)) for path in paths[3:5]] == ["set-0001/4.png", "set-0002/1.png"]
    for row in json.loads((tmp_path / "truth.json").read_text(encoding="utf-8"))["sets"]:
        pictures = row["pictures"]
        assert len({(p["place"], p["action"]) for p in pictures}) == 4
        assert {(p["kind"], p["colour"], p["worn"]) for p in pictures} == {tuple(row["character"].values())}
