"""Groups form by the structure of their source; likeness only vetoes. Every record ends in one or is rejected."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import imagehash
import numpy as np
import pytest

from miniature.film import HELD_OUT_SEED, picture, script
from pipeline import task
from pipeline.cache import Cache
from pipeline.records import Group, Position, Record, Rejected
from pipeline.stages.group import Grouping, stage
from pipeline.task import Task

PAIRS = task.load("sandstorm")
COLOURS = {"red": 0, "green": 40, "blue": 80}


def histogram(**parts: float) -> str:
    """Of a picture that has so much of each colour."""
    bins = np.zeros(128)
    for colour, part in parts.items():
        bins[COLOURS[colour]] = part
    return bytes(np.round(255 * np.sqrt(bins / bins.sum())).astype(np.uint8).tolist()).hex()


def record(name: str, *, size: tuple[int, int] = (640, 360), phash: str = "", **colours: float) -> Record:
    """A measured picture; unless told, its hash is like no other's."""
    folder, _, stem = name.rpartition("/")
    return Record(
        id=name,
        path=f"/{name}.png",
        source=f"/{name}.png",
        position=Position(folder=folder, stem=stem),
        width=size[0],
        height=size[1],
        phash=phash or f"{random.Random(name).getrandbits(64):016x}",
        histogram=histogram(**colours or {"red": 1}),
    )


def film(name: str, shots: int, *, every: float = 2.0, **colours: float) -> list[Record]:
    made = [record(f"{name}/{shot:03d}", **colours) for shot in range(shots)]
    return [replace(r, position=Position("/films", r.id, name, n, n * every)) for n, r in enumerate(made)]


def group(records: list[Record], theme: Task) -> tuple[list[Group], list[Rejected]]:
    results = list(stage(theme, None, Path(), Cache(Path())).run(records))
    groups = [item for item in results if isinstance(item, Group)]
    rejected = [item for item in results if isinstance(item, Rejected)]
    ends = [record.id for group in groups for record in group.records] + [row.id for row in rejected]
    assert sorted(ends) == sorted(record.id for record in records)  # each once, none lost
    return groups, rejected


def ids(groups: list[Group]) -> list[tuple[str, ...]]:
    return [group.origin for group in groups]


@pytest.fixture
def board(storyboard: Task):
    """The storyboard task with other grouping."""

    def board(grids: tuple[int, int] = (1, 100), **options: object) -> Task:
        part = storyboard.group.model_copy(update=options)
        return storyboard.model_copy(update={"group": part, "grids": grids})

    return board


def test_no_records_make_no_groups(storyboard):
    assert group([], storyboard) == ([], [])
    assert group([], PAIRS) == ([], [])


# ---- neighbours


def test_shots_of_a_film_group_in_order_and_each_is_used_once(board):
    groups, rejected = group(film("a", 7), board())
    assert ids(groups) == [("a/000", "a/001", "a/002"), ("a/003", "a/004", "a/005")]
    assert groups[0].formed == "shots 0, 1, 2 of a, 0.0 to 4.0 s"
    assert [(row.id, row.reason) for row in rejected] == [("a/006", "no neighbours")]
    assert rejected[0].detail == "a shot 6: has 0 neighbours left, storyboard needs 2."


def test_a_group_never_spans_two_films_or_two_folders(board):
    groups, rejected = group(film("a", 4) + film("b", 2), board())
    assert ids(groups) == [("a/000", "a/001", "a/002")]
    assert {row.id for row in rejected} == {"a/003", "b/000", "b/001"}
    pictures = [record(f"x/{n}") for n in range(3)] + [record(f"y/{n}") for n in range(2)]
    assert ids(group(pictures, board())[0]) == [("x/0", "x/1", "x/2")]


def test_neighbours_reach_no_further_than_window_and_span(board):
    red, blue = film("a", 5, red=1), film("a", 5, blue=1)
    mixed = [red[0], blue[1], blue[2], red[3], red[4]]
    assert ids(group(mixed, board(window=5))[0]) == [("a/000", "a/003", "a/004")]
    assert group(mixed, board(window=4))[0] == []
    assert group(mixed, board(window=5, span=7.9))[0] == []
    assert len(group(mixed, board(window=5, span=8.0))[0]) == 1


def test_strangers_veto_and_the_nearest_that_fit_are_taken(board):
    shots = film("a", 6, red=1)
    shots[1] = replace(shots[1], histogram=histogram(green=1))
    groups, rejected = group(shots, board(floor=0.2))
    assert ids(groups) == [("a/000", "a/002", "a/003")]
    assert [(row.id, row.reason) for row in rejected if row.id == "a/001"] == [("a/001", "strangers")]
    assert groups[0].cohesion == 1.0
    unlike = [record(f"x/{n}", **{colour: 1}) for n, colour in enumerate(COLOURS)]
    assert ids(group(unlike, board(floor=0.0))[0]) == [("x/0", "x/1", "x/2")]  # likeness never forms a group


def test_the_same_input_gives_the_same_groups_and_the_order_of_films_changes_none(board):
    a, b = film("a", 7), film("b", 6)
    first, again = group(a + b, board())[0], group(a + b, board())[0]
    assert first == again
    assert set(ids(group(b + a, board())[0])) == set(ids(first))
    assert {g.id for g in group(b + a, board())[0]} == {g.id for g in first}


def test_many_shots_are_grouped_in_a_moment(board):
    groups, _ = group(film("a", 3000), board((1, 10_000)))
    assert len(groups) == 1000


# ---- copies


def test_of_near_copies_the_largest_takes_part(board):
    small, large = record("x/a", phash="0" * 16, size=(320, 180)), record("x/b", phash="0" * 15 + "3")
    groups, rejected = group([small, large, record("x/c"), record("x/d")], board())
    assert ids(groups) == [("x/b", "x/c", "x/d")]
    assert rejected[0].id == "x/a" and rejected[0].reason == "near copy"
    assert rejected[0].detail == "/x/a.png: shows the same as /x/b.png (hash within 6 bits)."


def test_a_like_hash_with_other_colours_is_no_copy_nor_are_like_colours_with_another_hash(board):
    red, blue = record("x/a", phash="0" * 16, red=1), record("x/b", phash="0" * 16, blue=1)
    other = record("x/c", phash="f" * 16, red=1)
    assert len(group([red, blue, other], board(floor=0.0))[0]) == 1
    at_the_limit, beyond = record("x/d", phash="0" * 14 + "3f"), record("x/e", phash="0" * 14 + "7f")
    copies = [row.id for row in group([red, at_the_limit, beyond], board())[1] if row.reason == "near copy"]
    assert copies == ["x/d"]


def test_the_same_picture_in_another_size_or_compression_is_a_copy(tmp_path, draw, gather, measure, board):
    (tmp_path / "in").mkdir()
    for seed in range(3):
        draw(seed, (1280, 720)).save(tmp_path / "in" / f"{seed}.png")
        draw(seed, (1280, 720)).resize((480, 270)).save(tmp_path / "in" / f"{seed} small.jpg", quality=60)
    groups, rejected = group(measure(gather(tmp_path / "in")[0])[0], board(floor=0.0))
    assert [[r.position.stem for r in g.records] for g in groups] == [["0", "1", "2"]]
    assert [row.reason for row in rejected] == ["near copy"] * 3


# ---- sets and pairs


def of_set(name: str, page: int, set_name: str = "s") -> Record:
    made = record(name, **{list(COLOURS)[page % 3]: 1})
    return replace(made, position=replace(made.position, set=set_name, page=page), text="joint")


def test_what_came_as_one_set_stays_one_in_page_order_whatever_it_looks_like(board):
    groups, rejected = group([of_set("x/c", 3), of_set("x/a", 1), of_set("x/b", 2), record("x/d")], board(floor=0.9))
    assert ids(groups) == [("x/a", "x/b", "x/c")]
    assert groups[0].formed == "came as one set, s"
    assert [row.reason for row in rejected] == ["no neighbours"]


def test_a_set_with_too_few_or_too_many_pictures_is_rejected_whole(board):
    few, many = [of_set(f"x/{n}", n) for n in range(2)], [of_set(f"y/{n}", n, "t") for n in range(4)]
    groups, rejected = group(few + many, board())
    assert (groups, {row.reason for row in rejected}) == ([], {"incomplete set"})
    assert rejected[0].detail == "/x/0.png: its set s has 2 usable pictures, storyboard takes 3."


def test_sets_of_one_name_in_two_folders_stay_apart(board):
    groups, _ = group([of_set(f"{folder}/{n}", n) for folder in "xy" for n in range(3)], board())
    assert ids(groups) == [("x/0", "x/1", "x/2"), ("y/0", "y/1", "y/2")]


@pytest.mark.parametrize(
    "names",
    [
        ("7_before", "7_after"),
        ("7-source", "7-target"),
        ("7 left", "7 right"),
        ("7_1", "7_2"),
        ("7.2", "7.10"),
        ("Before", "after"),
        ("cat A", "cat B"),
    ],
)
def test_pairs_go_by_their_names_and_the_first_panel_is_first(names):
    pair = [record(f"x/{name}") for name in names]
    for order in (pair, pair[::-1]):
        assert ids(group(order, PAIRS)[0]) == [(f"x/{names[0]}", f"x/{names[1]}")]


def test_a_pair_may_change_little_but_its_pictures_may_not_be_strangers():
    like = [record(f"x/{name}", phash="0" * 16) for name in ("1_before", "1_after")]
    unlike = [record("x/2_before", red=1), record("x/2_after", blue=1)]
    alone, three = [record("x/3_before")], [record(f"x/4_{n}") for n in range(3)]
    groups, rejected = group(like + unlike + alone + three, PAIRS)
    assert ids(groups) == [("x/1_before", "x/1_after")]
    assert [row.reason for row in rejected] == ["strangers"] * 2 + ["incomplete pair"] * 4
    assert "3 pictures are named 4, sandstorm takes 2" in rejected[-1].detail


# ---- which are taken


def test_no_more_groups_than_wanted_and_every_film_has_its_share(board):
    records = [shot for name, shots in (("a", 30), ("b", 9), ("c", 9)) for shot in film(name, shots)]
    groups, rejected = group(records, board((1, 6)))
    assert [g.records[0].position.film for g in groups] == ["a", "a", "b", "b", "c", "c"]
    assert {row.reason for row in rejected} == {"not needed"}
    groups, _ = group(records, board((1, 12)))
    assert [sum(g.records[0].position.film == name for g in groups) for name in "abc"] == [6, 3, 3]


def test_the_groups_taken_differ_from_one_another(board):
    shots = film("a", 18, red=1)
    for number in (9, 10, 11):
        shots[number] = replace(shots[number], histogram=histogram(blue=1))
    groups, _ = group(shots, board((1, 2)))
    assert [g.records[0].id for g in groups] == ["a/000", "a/009"]


def test_ready_made_sets_come_before_what_is_formed(board):
    sets = [of_set(f"x/{s}{n}", n, str(s)) for s in range(2) for n in range(3)]
    groups, rejected = group(sets + film("a", 9), board((1, 2)))
    assert all(g.formed.startswith("came as one set") for g in groups) and len(groups) == 2
    assert [row.reason for row in rejected] == ["not needed"] * 9


# ---- why it is built this way


def test_colours_tell_shots_of_one_film_from_those_of_others_better_than_hashes(tmp_path, gather, measure, board):
    for number in range(8):
        for place, shot in enumerate(script(HELD_OUT_SEED + 500 + number, shots=5)):
            picture(shot.scene, tmp_path / "in" / f"{number}-{place}.png", (384, 216))
    records, _ = measure(gather(tmp_path / "in")[0])
    vectors = Grouping(board(), records).vectors
    hashes = [imagehash.hex_to_hash(r.phash) for r in records]
    films = [Path(r.source).stem.split("-")[0] for r in records]
    both = list(combinations(range(len(records)), 2))
    same = np.array([films[i] == films[j] for i, j in both])

    def auc(scores: list[float]) -> float:
        own, other = np.array(scores)[same], np.array(scores)[~same]
        return float(((own[:, None] > other) + 0.5 * (own[:, None] == other)).mean())

    colours = auc([float(vectors[i] @ vectors[j]) for i, j in both])
    structure = auc([float(-(hashes[i] - hashes[j])) for i, j in both])
    assert colours > 0.75 and colours > structure + 0.15  # 0.88 and 0.57
