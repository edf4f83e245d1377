"""Groups form by the structure of their source; similarity only vetoes. Every record joins a group or is rejected."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import imagehash
import numpy as np
import pytest
from measured import COLOURS, coloured, film, histogram, of_set, record, reel

from miniature.film import HELD_OUT_SEED, picture, script
from miniature.world import describe, draw_scene
from pipeline import plugins, task
from pipeline.cache import Cache
from pipeline.engines.base import Facts, Stage
from pipeline.grouping.pictures import Pictures
from pipeline.records import Caption, Grid, Group, Record, Rejected
from pipeline.stages.group import Parameters, stage
from pipeline.store import Store
from pipeline.task import Task

PAIRS = task.load("sandstorm")


def stage_of(theme: Task) -> Stage[Record]:
    on = Parameters(theme, plugins.find(plugins.GROUPING, theme.group.by), None, Path(), Cache(Path()))
    return stage(on)


def group(records: list[Record], theme: Task) -> tuple[list[Group], list[Rejected]]:
    results = list(stage_of(theme).run(records))
    groups = [item for item in results if isinstance(item, Group)]
    rejected = [item for item in results if isinstance(item, Rejected)]
    ends = [record.id for group in groups for record in group.records] + [row.id for row in rejected]
    assert sorted(ends) == sorted(record.id for record in records)  # each once, none lost
    return groups, rejected


def ids(groups: list[Group]) -> list[tuple[str, ...]]:
    return [group.origin for group in groups]


@pytest.fixture
def board(storyboard: Task):
    """The storyboard task with other grouping settings."""

    def board(grids: tuple[int, int] = (1, 100), **options: object) -> Task:
        part = storyboard.group.model_copy(update=options)
        return storyboard.model_copy(update={"group": part, "grids": grids})

    return board


def test_without_records_there_are_no_groups(storyboard):
    assert group([], storyboard) == ([], [])
    assert group([], PAIRS) == ([], [])


# ---- neighbours


def test_the_shots_of_a_film_are_grouped_in_order_and_each_is_used_once(board):
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


def test_strangers_are_vetoed_and_the_nearest_matching_shots_are_used(board):
    shots = film("a", 6, red=1)
    shots[1] = replace(shots[1], histogram=histogram(green=1))
    groups, rejected = group(shots, board(floor=0.2))
    assert ids(groups) == [("a/000", "a/002", "a/003")]
    assert [(row.id, row.reason) for row in rejected if row.id == "a/001"] == [("a/001", "strangers")]
    assert groups[0].cohesion == 1.0
    unlike = [record(f"x/{n}", **{colour: 1}) for n, colour in enumerate(COLOURS)]
    assert ids(group(unlike, board(floor=0.0))[0]) == [("x/0", "x/1", "x/2")]  # similarity never forms a group


def test_the_same_input_gives_the_same_groups_whatever_the_order_of_the_films(board):
    a, b = film("a", 7), film("b", 6)
    first, again = group(a + b, board())[0], group(a + b, board())[0]
    assert first == again
    assert set(ids(group(b + a, board())[0])) == set(ids(first))
    assert {g.id for g in group(b + a, board())[0]} == {g.id for g in first}


def test_many_shots_are_grouped_in_a_moment(board):
    groups, _ = group(film("a", 3000), board((1, 10_000)))
    assert len(groups) == 1000


# ---- copies


def test_the_largest_of_several_near_copies_is_used(board):
    small, large = record("x/a", phash="0" * 16, size=(320, 180)), record("x/b", phash="0" * 15 + "3")
    groups, rejected = group([small, large, record("x/c"), record("x/d")], board())
    assert ids(groups) == [("x/b", "x/c", "x/d")]
    assert rejected[0].id == "x/a" and rejected[0].reason == "near copy"
    assert rejected[0].detail == "/x/a.png: shows the same as /x/b.png (hash within 6 bits)."


def test_a_similar_hash_with_other_colours_is_no_copy_nor_are_similar_colours_with_another_hash(board):
    red, blue = record("x/a", phash="0" * 16, red=1), record("x/b", phash="0" * 16, blue=1)
    other = record("x/c", phash="f" * 16, red=1)
    assert len(group([red, blue, other], board(floor=0.0))[0]) == 1
    at_the_limit, beyond = record("x/d", phash="0" * 14 + "3f"), record("x/e", phash="0" * 14 + "7f")
    copies = [row.id for row in group([red, at_the_limit, beyond], board())[1] if row.reason == "near copy"]
    assert copies == ["x/d"]


def test_the_same_image_in_another_size_or_compression_is_a_copy(tmp_path, draw, gather, measure, board):
    (tmp_path / "in").mkdir()
    for seed in range(3):
        draw(seed, (1280, 720)).save(tmp_path / "in" / f"{seed}.png")
        draw(seed, (1280, 720)).resize((480, 270)).save(tmp_path / "in" / f"{seed} small.jpg", quality=60)
    groups, rejected = group(measure(gather(tmp_path / "in")[0])[0], board(floor=0.0))
    assert [[r.position.stem for r in g.records] for g in groups] == [["0", "1", "2"]]
    assert [row.reason for row in rejected] == ["near copy"] * 3


# ---- sets and pairs


def test_a_set_from_the_source_stays_one_group_in_page_order_whatever_it_looks_like(board):
    groups, rejected = group([of_set("x/c", 3), of_set("x/a", 1), of_set("x/b", 2), record("x/d")], board(floor=0.9))
    assert ids(groups) == [("x/a", "x/b", "x/c")]
    assert groups[0].formed == "came as one set, s"
    assert [row.reason for row in rejected] == ["no neighbours"]


def test_a_set_with_too_few_or_too_many_images_is_rejected_as_a_whole(board):
    few, many = [of_set(f"x/{n}", n) for n in range(2)], [of_set(f"y/{n}", n, "t") for n in range(4)]
    groups, rejected = group(few + many, board())
    assert (groups, {row.reason for row in rejected}) == ([], {"incomplete set"})
    assert rejected[0].detail == "/x/0.png: its set s has 2 usable pictures, storyboard takes 3."


def test_sets_with_the_same_name_in_two_folders_stay_apart(board):
    groups, _ = group([of_set(f"{folder}/{n}", n) for folder in "xy" for n in range(3)], board())
    assert ids(groups) == [("x/0", "x/1", "x/2"), ("y/0", "y/1", "y/2")]


@pytest.mark.parametrize(
    "names",
    [
        ("7_before", "7_after"),
        ("7-source", "7-target"),
        ("7 left", "7 right"),
        ("7_1", "7_2"),
        ("7.1", "7.2"),
        ("Before", "after"),
        ("cat A", "cat B"),
    ],
)
def test_pairs_are_matched_by_name_and_the_first_panel_comes_first(names):
    pair = [record(f"x/{name}") for name in names]
    for order in (pair, pair[::-1]):
        assert ids(group(order, PAIRS)[0]) == [(f"x/{names[0]}", f"x/{names[1]}")]


def test_a_pair_may_change_little_but_its_images_may_not_be_strangers():
    like = [record(f"x/{name}", phash="0" * 16) for name in ("1_before", "1_after")]
    unlike = [record("x/2_before", red=1), record("x/2_after", blue=1)]
    alone, three = [record("x/3_before")], [record(f"x/4_{n}") for n in range(3)]
    groups, rejected = group(like + unlike + alone + three, PAIRS)
    assert ids(groups) == [("x/1_before", "x/1_after")]
    assert [row.reason for row in rejected] == ["strangers"] * 2 + ["incomplete set"] + ["no role"] * 3
    assert "of the pictures named 3 none is for [BOTTOM]" in rejected[2].detail


# ---- which groups are used


def test_there_are_no_more_groups_than_requested_and_every_film_has_its_share(board):
    records = [shot for name, shots in (("a", 30), ("b", 9), ("c", 9)) for shot in film(name, shots)]
    groups, rejected = group(records, board((1, 6)))
    assert [g.records[0].position.film for g in groups] == ["a", "a", "b", "b", "c", "c"]
    assert {row.reason for row in rejected} == {"not needed"}
    groups, _ = group(records, board((1, 12)))
    assert [sum(g.records[0].position.film == name for g in groups) for name in "abc"] == [6, 3, 3]


def test_the_groups_used_differ_from_one_another(board):
    shots = film("a", 18, red=1)
    for number in (9, 10, 11):
        shots[number] = replace(shots[number], histogram=histogram(blue=1))
    groups, _ = group(shots, board((1, 2)))
    assert [g.records[0].id for g in groups] == ["a/000", "a/009"]


def test_ready_made_sets_come_before_groups_that_are_formed(board):
    sets = [of_set(f"x/{s}{n}", n, str(s)) for s in range(2) for n in range(3)]
    groups, rejected = group(sets + film("a", 9), board((1, 2)))
    assert all(g.formed.startswith("came as one set") for g in groups) and len(groups) == 2
    assert [row.reason for row in rejected] == ["not needed"] * 9


# ---- why it is built this way


def test_colours_separate_shots_of_one_film_from_those_of_others_better_than_hashes(tmp_path, gather, measure, board):
    for number in range(8):
        for place, shot in enumerate(script(HELD_OUT_SEED + 500 + number, shots=5)):
            picture(shot.scene, tmp_path / "in" / f"{number}-{place}.png", (384, 216))
    records, _ = measure(gather(tmp_path / "in")[0])
    vectors = Pictures.of(board(), records, None).compared
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


# ---- strangers, detected from the run's own groups


def test_a_stranger_among_the_shots_of_a_film_is_vetoed_and_its_companions_form_other_groups(board):
    reels = [reel(name, 9, seed) for seed, name in enumerate("abcdefgh")]
    reels[2][4] = replace(reels[2][4], histogram=coloured(77))
    groups, rejected = group([shot for shots in reels for shot in shots], board(floor=0.0))
    mine = [members for members in ids(groups) if members[0].startswith("c/")]
    assert mine == [("c/000", "c/001", "c/002"), ("c/003", "c/005", "c/006")]
    strange = next(row for row in rejected if row.id == "c/004")
    assert strange.reason == "strangers"
    assert strange.detail.startswith("c shot 4: belongs with none of those that stand near it (colours 0.")
    assert "at least 0." in strange.detail
    assert [members for members in ids(groups) if members[0].startswith("a/")] == [
        ("a/000", "a/001", "a/002"),
        ("a/003", "a/004", "a/005"),
        ("a/006", "a/007", "a/008"),
    ]


def test_a_few_groups_of_photographs_are_too_little_evidence_to_veto_any(board):
    sets = [
        replace(record(f"{folder}/{place}"), histogram=coloured(number, 100 * number + place))
        for number, folder in enumerate("abcdefg")
        for place in range(3)
    ]
    sets[7] = replace(sets[7], histogram=coloured(77))
    results = list(stage_of(board(floor=0.0)).run(sets))
    assert len([item for item in results if isinstance(item, Group)]) == 7
    assert not [item for item in results if isinstance(item, Facts)]


def test_shots_far_apart_tell_a_stranger_where_there_are_too_few_groups_to_learn_it_from(board):
    reels = [reel(name, 3, seed) for seed, name in enumerate("abcdefg")]
    reels[2][1] = replace(reels[2][1], histogram=coloured(77))
    groups, rejected = group([shot for shots in reels for shot in shots], board(floor=0.0))
    assert [one[0][0] for one in ids(groups)] == [*"abdefg"]
    assert rejected[0].reason == "strangers"
    assert re.fullmatch(
        r"c shot 0: belongs with none of those that stand near it \(colours 0\.\d\d, at least 0\.\d\d is needed\)\.",
        rejected[0].detail,
    )


def test_pairs_that_do_not_belong_together_are_rejected():
    pairs = []
    for seed in range(20):
        other = 90 + seed if seed in (4, 11) else seed
        pairs += [replace(record(f"x/{seed}_before"), histogram=coloured(seed, 1))]
        pairs += [replace(record(f"x/{seed}_after"), histogram=coloured(other, 2))]
    loose = PAIRS.model_copy(update={"group": PAIRS.group.model_copy(update={"floor": 0.0})})
    groups, rejected = group(pairs, loose)
    assert {row.id for row in rejected} == {"x/4_before", "x/4_after", "x/11_before", "x/11_after"}
    assert {row.reason for row in rejected} == {"strangers"}
    assert "the pictures named 4 do not belong together (colours 0." in rejected[0].detail
    assert len(groups) == 18


def test_sets_from_the_source_are_never_vetoed_and_nothing_is_reported_about_them(board):
    sets = [
        replace(of_set(f"x/{number}-{page}", page, str(number)), histogram=coloured(10 * number + page))
        for number in range(12)
        for page in range(3)
    ]
    results = list(stage_of(board()).run(sets))
    assert len([item for item in results if isinstance(item, Group)]) == 12
    assert not [item for item in results if isinstance(item, Facts)]


def test_sets_stay_where_groups_formed_beside_them_are_vetoed(board):
    sets = [replace(of_set(f"x/{page}", page), histogram=coloured(page)) for page in range(3)]
    reels = [reel(name, 3, seed) for seed, name in enumerate("abcdefghij", start=20)]
    reels[2][1] = replace(reels[2][1], histogram=coloured(77))
    groups, rejected = group([*sets, *(shot for shots in reels for shot in shots)], board(floor=0.0))
    assert ids(groups)[0] == ("x/0", "x/1", "x/2")
    assert len(groups) == 10
    assert {row.id.split("/")[0] for row in rejected} == {"c"}


def test_the_facts_of_the_stage_include_area_and_interval_and_vetoes(board):
    records = [shot for seed, name in enumerate("abcdefgh") for shot in reel(name, 9, seed)]
    (facts,) = (item for item in stage_of(board()).run(records) if isinstance(item, Facts))
    belonging = facts.found["belonging"]
    assert belonging["groups"] == 24
    assert 0.95 < belonging["area"]["low"] <= belonging["area"]["value"] <= belonging["area"]["high"] <= 1
    assert belonging["area"]["cleared"]
    assert belonging["counts"] == {"colours": 1.0}


@pytest.mark.parametrize("shots", [24, 30, 90, 300])
def test_images_that_all_look_alike_are_not_strangers_to_one_another(board, shots):
    """Runs that continue although nothing distinguishes their groups from chance still get their groups."""
    groups, _ = group(film("a", shots), board((1, 1000)))
    assert len(groups) == shots // 3


# ---- whole runs


SMALL = ("--set", "layout.panel_width=128", "--set", "layout.panel_height=64", "--set", "group.floor=0.0")


def filtered(iclora, out: Path, source: Path, *words: str) -> tuple[int, str, str]:
    options = ("--source", str(source), "--captioner", "sidecar", "--scorer", "none", "--out", str(out))
    return iclora("dataset", "storyboard", *options, *SMALL, *words)


def test_groups_with_a_stranger_are_never_captioned(tmp_path, iclora):
    rng = random.Random(1)
    for number in range(12):
        first = draw_scene(rng)
        for place in range(1, 5):
            scene = replace(draw_scene(rng, first.character), place=first.place)
            if (number, place) == (5, 2):
                scene = draw_scene(rng)
            shown = picture(scene, tmp_path / "in" / f"{number:02d}" / f"{place}.png", (320, 160))
            shown.with_suffix(".txt").write_text(describe(scene), encoding="utf-8")
    filtered(iclora, tmp_path / "run", tmp_path / "in", "--set", "grids=[1,100]")
    with Store(tmp_path / "run") as store:
        grids, captions = store.items(Grid, "grids"), store.items(Caption, "captions")
        left = [row.what for row in store.rejected("group")]
    assert {caption.grid for caption in captions} == {grid.id for grid in grids}
    mine = [grid.group.records for grid in grids if "/05/" in grid.group.records[0].source]
    assert [[Path(record.source).stem for record in records] for records in mine] == [["1", "3", "4"]]
    assert len([what for what in left if what.endswith("/05/2.png")]) == 1


def test_unrelated_images_stop_the_run_before_captioning_and_it_can_be_continued_anyway(tmp_path, iclora, draw):
    for number in range(120):
        shown = tmp_path / "in" / f"{number // 3:02d}" / f"{number % 3}.png"
        shown.parent.mkdir(parents=True, exist_ok=True)
        draw(number, (320, 160)).save(shown)
        shown.with_suffix(".txt").write_text(f"picture number {number} of many", encoding="utf-8")
    run = tmp_path / "run"
    code, out, errors = filtered(iclora, run, tmp_path / "in", "--set", "grids=[1,100]")
    assert code == 2
    assert "group: 120 in" in out and "caption" not in out
    assert errors.startswith(
        "error: the 40 groups are hardly more alike than pictures put together at random (ROC AUC 0."
    )
    assert "so nothing was captioned: the source has no structure, or all of it is alike" in errors
    assert "--set group.prove=false" in errors
    assert not (run / "dataset").exists() and not (run / "captions.csv").exists()
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))["stages"]
    assert not report["group"]["belonging"]["area"]["cleared"] and "caption" not in report
    code, out, _ = iclora("dataset", "storyboard", "--out", str(run), "--set", "group.prove=false",
                          "--set", "grids=[1,100]", *SMALL)  # fmt: skip
    assert code == 0 and "filter: " in out
    assert (run / "dataset").is_dir()
