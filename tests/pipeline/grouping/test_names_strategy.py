"""The strategy `names`: what is left over and why, what is remarked, and patterns that a person sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from measured import film, record

from pipeline import task
from pipeline.errors import BadInput
from pipeline.grouping import schemes
from pipeline.grouping.strategies import names
from pipeline.grouping.strategies.base import Formed
from pipeline.grouping.ways import Question
from pipeline.records import Record, Rejected
from pipeline.task import Task

SAND, FONT = task.load("sandstorm"), task.load("font-design")
VIEWS = FONT.model_copy(update={"markers": ("[FRONT]", "[BACK]", "[LEFT]", "[RIGHT]")})


class NoVeto:
    def each(self, questions: Sequence[Question]) -> list[tuple[Record, ...]]:
        return [question.group(0) for question in questions]


def form(paths: Sequence[str], of: Task = SAND) -> tuple[list[list[str]], list[Rejected], list[str]]:
    records = [record(path) for path in paths]
    vetoes: Any = NoVeto()
    results = list(names.form(records, of, vetoes))
    groups = [[one.id for one in each.records] for each in results if isinstance(each, Formed)]
    rejected = [each for each in results if isinstance(each, Rejected)]
    ends = [one for group in groups for one in group] + [one.id for one in rejected]
    assert sorted(ends) == sorted(paths)
    return groups, rejected, names.remarks(records, of)


def test_an_object_that_lacks_a_view_is_left_out_and_no_objects_are_mixed() -> None:
    views = [f"x/{thing}_{view}" for thing in ("chair", "lamp", "vase") for view in ("front", "back", "left", "right")]
    views.remove("x/lamp_back")
    groups, rejected, remarks = form(views, VIEWS)
    assert [members[0] for members in groups] == ["x/chair_front", "x/vase_front"]
    assert {row.id for row in rejected} == {"x/lamp_front", "x/lamp_left", "x/lamp_right"}
    assert {row.reason for row in rejected} == {"incomplete set"}
    assert rejected[0].detail.endswith(
        "of the pictures named lamp none is for [BACK] (others have other names, or were rejected before)."
    )
    assert remarks[0].startswith("names: {set}_{role}, 'front' for [FRONT], 'back' for [BACK], ")
    assert "2 sets, 3 pictures left over; such as chair_front + chair_back" in remarks[0]


def test_views_beyond_those_of_the_task_are_left_over_with_the_reason() -> None:
    groups, rejected, _ = form([f"x/{n}_{view}" for n in (1, 2) for view in ("before", "after", "mask")])
    assert groups == [["x/1_before", "x/1_after"], ["x/2_before", "x/2_after"]]
    assert [(row.id, row.reason) for row in rejected] == [("x/1_mask", "no panel"), ("x/2_mask", "no panel")]
    assert rejected[0].detail.endswith("shows 1 as 'mask', for which sandstorm has no panel.")


def test_two_pictures_for_one_panel_are_told_and_none_is_chosen() -> None:
    groups, rejected, _ = form(["x/1_before", "x/1_original", "x/1_after", "x/2_before", "x/2_after"])
    assert groups == [["x/2_before", "x/2_after"]]
    assert "2 are for [TOP] (1_before, 1_original)" in rejected[0].detail


def test_a_folder_of_unrelated_photographs_gives_no_group_and_the_ways_on() -> None:
    groups, rejected, remarks = form([f"x/IMG_{n:04d}" for n in range(183)])
    assert groups == [] and {row.reason for row in rejected} == {"no role"}
    (remark,) = remarks
    assert "183 pictures have a name that says no role" in remark and "--set group.pattern" in remark


@pytest.mark.parametrize("names", [("IMG_1233", "IMG_1236"), ("DSC00041", "DSC00042"), ("scan 7", "scan 9")])
def test_numbers_of_two_pictures_say_no_role_unless_they_count_from_one(names: tuple[str, str]) -> None:
    assert form([f"x/{name}" for name in names])[0] == []
    assert form(["x/chair 1", "x/chair 2"])[0] == [["x/chair 1", "x/chair 2"]]


def test_a_product_that_lacks_a_view_is_asked_about_like_the_others() -> None:
    things = ("mug", "lamp", "oak_chair", "toy_robot", "radio")
    paths = [f"x/{thing}_{view}" for thing in things for view in ("front", "back", "side")]
    groups, rejected, remarks = form([path for path in paths if path != "x/radio_back"])
    assert groups == [] and {row.reason for row in rejected} == {"order not told"}
    (remark,) = remarks
    assert remark.startswith("names: {set}_{role}: 5 sets, such as mug_front + mug_back + mug_side, and nothing says")
    assert len(form(paths, task.load("sandstorm", ["group.roles=front,side"]))[0]) == 5


def test_schemes_that_are_mixed_in_one_pool_are_each_found() -> None:
    groups, rejected, remarks = form(
        ["x/1_before", "x/1_after", "y/left01", "y/right01", "control/a", "target/a", "x/sunset"]
    )
    assert sorted(groups) == [["control/a", "target/a"], ["x/1_before", "x/1_after"], ["y/left01", "y/right01"]]
    assert [row.id for row in rejected] == ["x/sunset"]
    assert len(remarks) == 4


def test_the_same_name_in_another_folder_is_another_object() -> None:
    groups, _, _ = form([f"{folder}/1_{role}" for folder in ("x", "y") for role in ("after", "before")])
    assert groups == [["x/1_before", "x/1_after"], ["y/1_before", "y/1_after"]]


def test_names_that_differ_in_leading_zeros_are_two_objects_where_both_are_whole() -> None:
    groups, _, _ = form(["x/1_before", "x/1_after", "x/01_before", "x/01_after"])
    assert sorted(groups) == [["x/01_before", "x/01_after"], ["x/1_before", "x/1_after"]]
    assert form(["x/before_1", "x/after_01"])[0] == [["x/before_1", "x/after_01"]]


def test_of_files_that_differ_in_their_ending_only_the_largest_takes_part() -> None:
    records = [record("x/1_before"), record("x/1_after"), replace(record("x/1_after", size=(64, 64)), id="small")]
    vetoes: Any = NoVeto()
    results = list(names.form(records, SAND, vetoes))
    (group,) = (one for one in results if isinstance(one, Formed))
    assert [one.id for one in group.records] == ["x/1_before", "x/1_after"]
    assert [(one.id, one.reason) for one in results if isinstance(one, Rejected)] == [("small", "same name")]


def test_shots_of_films_have_no_role() -> None:
    vetoes: Any = NoVeto()
    results = list(names.form(film("before", 2), SAND, vetoes))
    assert [one.reason for one in results if isinstance(one, Rejected)] == ["no role"] * 2


def test_words_that_say_no_order_are_asked_for_and_the_setting_settles_it() -> None:
    paths = [f"x/{n}_{role}" for n in range(3) for role in ("foo", "bar")]
    groups, rejected, remarks = form(paths)
    assert groups == [] and {row.reason for row in rejected} == {"order not told"}
    assert "--set group.roles=foo,bar" in remarks[0] and "--set group.roles=foo,bar" in rejected[0].detail
    groups, _, _ = form(paths, task.load("sandstorm", ["group.roles=bar,foo"]))
    assert groups[0] == ["x/0_bar", "x/0_foo"]


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("{set}_{role}", ["a_foo", "a_bar"]),
        ("{role}/{set}", ["foo/a 1", "bar/a-1"]),
        ("{set}[_{role}]", ["a_foo", "a"]),
        ("[{role}/]{set}", ["foo/a", "a"]),
        ("shoot*-{role} ({set})", ["shoot 12-foo (1)", "Shoot 13-bar (1)"]),
        ("{role}-{set}-*", ["foo-a-x1", "bar-a-y22"]),
    ],
)
def test_a_pattern_says_how_names_are_built(pattern: str, paths: list[str]) -> None:
    words = "foo,-" if "[" in pattern else "foo,bar"
    own = task.load("sandstorm", [f"group.pattern='{pattern}'", f"group.roles={words}"])
    assert form([f"x/{path}" for path in paths], own)[0] == [[f"x/{path}" for path in paths]]


@pytest.mark.parametrize(
    "pattern", ["{set}", "{role}_{role}", "{role}_{name}", "{role", "[{set}_{role}", "{role}[_[x]]"]
)
def test_a_pattern_that_can_t_be_read_is_refused_with_examples(pattern: str) -> None:
    with pytest.raises(BadInput, match=r"group.pattern: must have \{role\} once.*as in \{set\}_\{role\}"):
        task.load("sandstorm", [f"group.pattern='{pattern}'"])


def test_thousands_of_names_are_read_in_a_moment() -> None:
    pool = [("/x", f"IMG_{n:05d}_{role}") for n in range(1500) for role in ("before", "after")]
    (scheme,) = schemes.read(pool, SAND)
    assert len(scheme.sets) == 1500 and scheme.words == ("before", "after")
