"""Pictures form groups only for a reason that a person would give: a film, a folder, names, or looks that say so."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from measured import coloured, film, record

from pipeline import plugins, task
from pipeline.cache import Cache
from pipeline.engines.base import Facts
from pipeline.grouping import structure, subjects
from pipeline.grouping.pictures import Pictures
from pipeline.grouping.vetoes import Veto, Vetoes
from pipeline.records import Group, Record, Rejected
from pipeline.stages import group
from pipeline.task import Task

PUBLISHED = task.names()


def grouped(records: Sequence[Record], name: str, *lines: str) -> tuple[list[list[str]], list[Rejected], list[str]]:
    of = task.load(name, ["grids=[1,1000]", *lines])
    stage = group.stage(group.Parameters(of, plugins.find(plugins.GROUPING, of.group.by), None, Path(), Cache(Path())))
    results = list(stage.run(records))
    return (
        [list(one.origin) for one in results if isinstance(one, Group)],
        [one for one in results if isinstance(one, Rejected)],
        [
            remark
            for one in results
            if isinstance(one, Facts)
            for remark in (*one.found.get("remarks", ()), *filter(None, [one.found.get(group.WAYS_ON)]))
        ],
    )


def photographs(count: int, folder: str = "/photos", name: str = "IMG_{:04d}") -> list[Record]:
    """Unrelated ones; every colour is anybody's."""
    return [
        replace(record(f"{folder}/{name.format(number)}"), histogram=coloured(1000 + number))
        for number in range(1, count + 1)
    ]


def scenes(folder: str, count: int, each: int, *, seed: int = 0, name: str = "scene_{:03d}") -> list[Record]:
    """Numbered stills of a film: some of each scene, one scene after the other."""
    return [
        replace(
            record(f"{folder}/{name.format(number)}"), histogram=coloured(seed + number // each, 100 * seed + number)
        )
        for number in range(count * each)
    ]


# ---- a flat folder of unrelated photographs


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("names", ["IMG_{:04d}", "{}", "{:03d}-{:03d}", "photo ({})"])
def test_a_flat_folder_of_unrelated_photographs_gives_no_group_and_a_sentence(name: str, names: str) -> None:
    pictures = photographs(60, name=names.replace("{:03d}-{:03d}", "{0:03d}-{0:03d}"))
    groups, rejected, remarks = grouped(pictures, name)
    assert groups == [] and len(rejected) == 60
    remark = remarks[-1]  # names are told of before
    assert remark.startswith("60 pictures of /photos form no group")
    for way in ("a folder of its own", "name it alike", "table", "group.by=similarity", "group.prove=false"):
        assert way in remark


def test_the_sentence_calls_tables_tables() -> None:
    pictures = [*photographs(2, "/a"), *photographs(1, "/b")]
    assert structure.ways_on(pictures).startswith("3 pictures of /a and 1 other folder form no group")
    of_tables = [replace(one, position=replace(one.position, row=0)) for one in pictures]
    assert structure.ways_on(of_tables).startswith("3 pictures of /a and 1 other table form no group")


@pytest.mark.parametrize("seed", range(6))
def test_words_as_names_put_unrelated_photographs_in_no_order_either(seed: int) -> None:
    words = ["cat", "actress", "chessboard", "rocket", "coins", "page", "moon", "camera", "brick", "grass", "horse"]
    random.Random(seed).shuffle(words)
    pictures = [replace(record(f"/p/{word}"), histogram=coloured(900 + 20 * seed + n)) for n, word in enumerate(words)]
    for name in ("storyboard", "home-decoration", "portrait-photography"):
        assert grouped(pictures, name)[0] == []


def test_the_rejected_rows_say_what_was_tested() -> None:
    _, rejected, _ = grouped(photographs(60), "storyboard")
    assert {row.reason for row in rejected} == {"no structure"}
    assert rejected[0].detail.startswith("//photos/IMG_0001.png: is one of 60 pictures of photos that nothing ties tog")


def test_a_person_may_say_that_a_folder_is_one_set() -> None:
    groups, _, remarks = grouped(photographs(9), "storyboard", "group.prove=false", "group.floor=0")
    assert len(groups) == 3 and remarks == []


# ---- what things the names tell apart


VIEWS = ("front", "side", "back", "top")


@pytest.mark.parametrize("name", [name for name in PUBLISHED if task.load(name).group.by in ("shots", "folders")])
@pytest.mark.parametrize("spelt", ["{thing}_{view}", "{view}-{thing}", "{thing} {view} view", "{thing}{View}"])
@settings(deadline=None, max_examples=8)
@given(missing=st.sets(st.integers(0, 11), max_size=8))
def test_views_of_several_things_are_never_mixed(name: str, spelt: str, missing: set[int]) -> None:
    things = ("chair", "lamp", "sofa")
    pairs = [(thing, view) for thing in things for view in VIEWS]
    left = [pair for place, pair in enumerate(pairs) if place not in missing]
    names = [spelt.format(thing=thing, view=view, View=view.title()) for thing, view in left]
    pictures = [record(f"/shop/{one}") for one in names]
    for chosen in grouped(pictures, name)[0]:
        assert len({next(thing for thing in things if thing in one) for one in chosen}) == 1


@pytest.mark.parametrize(
    ("stem", "subject", "role"),
    [
        ("chair_front", "chair", "front"),
        ("front-chair", "chair", "front"),
        ("IMG_0012", "", "0012"),
        ("WhatsApp Image 2023-03-18 at 11.24.03", "", "11-24-03"),
        ("Screen Shot 2020-01-02 at 9.05.01 AM", "", ""),
        ("DSC01234", "", "01234"),
        ("anna (3)", "anna", "3"),
        ("2024-05-01 beach 3", "beach", "2024-05-01-3"),
        ("top-left", "", "top-left"),
        ("kitchen", "kitchen", ""),
        ("scene_001", "", "001"),
        ("7", "", "7"),
    ],
)
def test_a_name_says_what_is_shown_and_in_which_role(stem: str, subject: str, role: str) -> None:
    assert (subjects.read(stem).subject, subjects.read(stem).role) == (subject, role)


def test_people_in_one_folder_are_not_mixed_and_rooms_of_a_home_may_be() -> None:
    people = [record(f"/p/{name} {number}") for name in ("anna", "bob") for number in range(1, 5)]
    assert grouped(people, "portrait-photography")[0] == [
        [f"/p/{name} {n}" for n in range(1, 5)] for name in ("anna", "bob")
    ]
    two = [record(f"/p/{name} {number}") for name in ("anna", "bob") for number in (1, 2)]
    assert grouped(two, "portrait-photography")[0] == []
    home = [record(f"/flat/{name}") for name in ("kitchen 1", "kitchen 2", "bath", "hall")]
    assert len(grouped(home, "home-decoration")[0]) == 1


# ---- folders


def test_a_folder_of_as_many_pictures_as_panels_is_one_group_in_the_order_of_markers_numbers_or_names() -> None:
    corners = ["top-left", "top-right", "bottom-left", "bottom-right"]
    for names in (corners, ["1", "2", "3", "10"], ["a", "b", "c", "d"], ["0", "1", "2", "3"]):
        shuffled = random.Random(0).sample(names, 4)
        groups, _, _ = grouped([record(f"/f/{name}") for name in shuffled], "home-decoration")
        assert groups == [[f"/f/{name}" for name in names]]
    listed = [
        replace(one, position=replace(one.position, order=float(-number)))
        for number, one in enumerate(record(f"/f/{name}") for name in "abcd")
    ]
    assert grouped(listed, "home-decoration")[0] == [[f"/f/{name}" for name in "dcba"]]


def test_a_folder_that_lacks_a_picture_says_so() -> None:
    groups, rejected, _ = grouped([record(f"/f/{n}") for n in range(3)], "font-design")
    assert groups == [] and {row.reason for row in rejected} == {"incomplete folder"}
    assert rejected[0].detail == "//f/0.png: f has only 3 pictures left, font-design takes 4."


def test_a_larger_folder_whose_pictures_belong_together_gives_several_groups_and_another_none() -> None:
    sessions = [
        replace(record(f"/{who}/{n:02d}"), histogram=coloured(number, 100 * number + n))
        for number, who in enumerate(["ann", "bob", "cid"])
        for n in range(9)
    ]
    groups, rejected, _ = grouped([*sessions, *photographs(9, "/mixed")], "portrait-photography", "group.floor=0")
    assert groups == [
        [f"/{who}/{n + 4 * part:02d}" for n in range(4)] for who in ("ann", "bob", "cid") for part in (0, 1)
    ]
    assert [row.reason for row in rejected].count("left over") == 3
    assert {row.reason for row in rejected if "mixed" in row.id} == {"no structure"}


# ---- shots


def test_numbered_stills_in_the_order_of_a_film_are_a_sequence_and_shuffled_ones_are_none() -> None:
    stills = scenes("/film", 8, 4)
    groups, _, remarks = grouped(stills, "storyboard")
    assert len(groups) >= 8 and remarks == []
    order = random.Random(3).sample(stills, len(stills))
    shuffled = [replace(one, histogram=other.histogram) for one, other in zip(stills, order, strict=True)]
    assert grouped(shuffled, "storyboard")[0] == []


def test_a_folder_for_each_scene_gives_groups_within_the_scenes() -> None:
    folders = [one for number in range(4) for one in scenes(f"/s{number}", 1, 9, seed=10 * number)]
    groups, _, _ = grouped([*folders, *photographs(9, "/mixed")], "storyboard", "group.floor=0")
    assert len(groups) == 12 and all(len({name[:3] for name in one}) == 1 for one in groups)


def test_a_few_numbered_photographs_are_a_set() -> None:
    assert len(grouped([record(f"/shoot/IMG_{n:04d}") for n in range(1, 7)], "storyboard")[0]) == 2


@pytest.mark.parametrize("name", ["IMG_{:04d}", "DSC{:05d}", "_MG_{:04d}", "P10100{:02d}", "20240501_1203{:02d}"])
def test_a_few_unrelated_photographs_that_a_camera_has_numbered_are_no_set(name: str) -> None:
    rng = np.random.default_rng(3)
    unlike = [
        bytes((rng.integers(0, 200, 128) * (rng.random(128) < 0.2)).tolist()).hex() for _ in range(6)
    ]  # a few colours each
    pictures = [replace(one, histogram=unlike[number]) for number, one in enumerate(photographs(6, name=name))]
    groups, _, remarks = grouped(pictures, "storyboard", "group.floor=0")
    assert not groups and any("form no group" in remark for remark in remarks)
    assert len(grouped([record(f"/shoot/{name.format(n)}") for n in range(1, 7)], "storyboard")[0]) == 2


@pytest.mark.parametrize("count", [4, 6])
def test_a_few_pictures_named_alike_among_other_photographs_must_look_alike(count: int) -> None:
    mixed = photographs(60)
    unlike = photographs(count, name="holiday{}")
    alike = [replace(record(f"/photos/beach day {n}"), histogram=coloured(5, n)) for n in range(1, count + 1)]
    groups, _, _ = grouped([*mixed, *unlike, *alike], "home-decoration", "group.floor=0")
    assert [sorted(one) for one in groups] == [[f"/photos/beach day {n}" for n in range(1, 5)]]


def test_two_shots_of_a_street_and_one_of_a_rabbit_are_no_group() -> None:
    films = []
    for number, name in enumerate("abcdef"):
        street, rabbit = coloured(number, 1), coloured(50 + number)
        shots = film(name, 3)
        films += [replace(shots[0], histogram=street), replace(shots[1], histogram=coloured(number, 2)),
                  replace(shots[2], histogram=rabbit)]  # fmt: skip
    right = [replace(shot, histogram=coloured(70 + n // 3, n)) for n, shot in
             enumerate(shot for name in "pqrst" for shot in film(name, 3))]  # fmt: skip
    groups, rejected, _ = grouped([*films, *right], "storyboard")
    assert {one[0][0] for one in groups} == {*"pqrst"}
    assert "strangers" in {row.reason for row in rejected}


def test_two_shots_that_a_scorer_finds_the_same_are_no_different_shots() -> None:
    board, shots = task.load("storyboard"), film("a", 4)
    vectors = np.array([[1, 0.0], [1, 0.1], [1, 1.0], [0.4, 1.0]], np.float32)
    vetoes = Vetoes(board, Pictures.of(board, shots, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)), 0.97)
    ways = [shots[:3], [shots[0], *shots[2:]]]
    assert vetoes.first(ways) == (shots[0], shots[2], shots[3])
    vetoed = vetoes.first(ways[:1])
    assert isinstance(vetoed, Veto)
    assert str(vetoed) == "do not belong together (two of them show the same, pictures 1.00, ceiling 0.97)"


def test_many_ways_to_choose_from_a_large_window_are_bounded() -> None:
    unlike = [replace(one, histogram=coloured(number)) for number, one in enumerate(film("a", 40))]
    groups, rejected, _ = grouped(unlike, "storyboard", "group.window=10000", "group.span=1000", "group.floor=1")
    assert (groups, len(rejected)) == ([], 40)


def test_an_earlier_runs_setting_names_the_two_strategies_that_took_its_place() -> None:
    with pytest.raises(Exception, match="'neighbours' is now two strategies: 'shots' for films, 'folders'"):
        task.load("storyboard", ["group.by=neighbours"])


# ---- similarity


def test_similar_pictures_find_one_another_whatever_their_folder_and_order() -> None:
    sets = [
        replace(record(f"/{place}/{number}"), histogram=coloured(number, 100 * number + place))
        for place in range(3)
        for number in range(12)
    ]
    pictures = [*sets, *photographs(60, name="x{}")]
    expected = {frozenset(f"/{place}/{number}" for place in range(3)) for number in range(12)}
    found = {frozenset(one) for one in grouped(pictures, "storyboard", "group.by=similarity")[0]}
    assert len(found & expected) >= 11
    assert all(one in expected or all("photos" in name for name in one) for one in found)
    shuffled = random.Random(1).sample(pictures, len(pictures))
    again = grouped(shuffled, "storyboard", "group.by=similarity")[0]
    assert again == grouped(pictures, "storyboard", "group.by=similarity")[0]


def test_similarity_stays_within_a_folder_or_a_time_where_it_is_told_to() -> None:
    pictures = [
        replace(record(f"/{folder}/{n}"), histogram=coloured(1, n, 40), date=f"2024-05-01T10:{n:02d}:00")
        for n, folder in enumerate("abcabcabc")
    ]
    lines = ("group.by=similarity", "group.related=0.5")
    groups, _, _ = grouped(pictures, "storyboard", *lines, "group.within=folder")
    assert sorted({name[1] for name in one} for one in groups) == [{"a"}, {"b"}, {"c"}]
    groups, _, _ = grouped(pictures, "storyboard", *lines, "group.within=span", "group.span=120")
    assert groups and all(max(int(n[3:]) for n in one) - min(int(n[3:]) for n in one) <= 2 for one in groups)


def test_a_picture_that_is_like_no_other_says_so() -> None:
    _, rejected, _ = grouped(photographs(30), "storyboard", "group.by=similarity", "group.related=0.999")
    assert rejected[0].detail.endswith("is like no other by the floor 1.00 of similarity in colours.")


def test_the_task_of_one_panel_takes_every_picture() -> None:
    one = Task.model_validate(
        task.load("storyboard").model_dump()
        | {"markers": ("[A]",), "layout": {"rows": 1, "cols": 1, "panel_width": 1024, "panel_height": 512}}
    )
    for by in ("similarity", "shots", "folders"):
        of = one.model_copy(update={"group": one.group.model_copy(update={"by": by, "prove": False})})
        stage = group.stage(group.Parameters(of, plugins.find(plugins.GROUPING, by), None, Path(), Cache(Path())))
        assert len([found for found in stage.run(photographs(5)) if isinstance(found, Group)]) == 5
