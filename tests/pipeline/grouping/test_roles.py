"""Words map to panels by the task, its markers or the vocabulary, by numbers, or not at all: then it is asked."""

from __future__ import annotations

import pytest

from pipeline import task
from pipeline.errors import BadInput
from pipeline.grouping.roles import Ambiguous, panels_of

SAND, COUPLE, FONT = task.load("sandstorm"), task.load("couple-profile"), task.load("font-design")
PHOTO, BRAND, BOARD = task.load("portrait-illustration"), task.load("visual-identity"), task.load("storyboard")


@pytest.mark.parametrize(
    ("of", "words"),
    [
        (SAND, "before after"),
        (SAND, "without with"),
        (SAND, "normal sand"),
        (SAND, "clean sandstorm"),
        (SAND, "off on"),
        (SAND, "control target"),
        (SAND, "[TOP] [BOTTOM]"),
        (SAND, "old new"),
        (SAND, "front back"),
        (SAND, "2 10"),
        (SAND, "a b"),
        (SAND, "f b"),
        (SAND, "vorher nachher"),
        (SAND, "前 后"),
        (PHOTO, "photograph sketch"),
        (PHOTO, "Photo Drawing"),
        (BRAND, "logo product"),
        (BRAND, "logo mug"),
        (COUPLE, "LEFT right"),
        (COUPLE, "l r"),
        (FONT, "tl tr bl br"),
        (FONT, "TopLeft top_right bottom-left bottomright"),
        (BOARD, "1 2 3"),
        (BOARD, "scene-1 scene-2 scene-3"),
        (BOARD, "start middle end"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_words_that_tell_the_order_are_in_that_order_however_they_come(of: task.Task, words: str) -> None:
    right = words.split()
    for given in (right, right[::-1]):
        assert panels_of(given, of) == {word: panel for panel, word in enumerate(right)}


@pytest.mark.parametrize(
    ("of", "words"),
    [
        (SAND, "foo bar"),
        (SAND, "young old"),
        (SAND, "1 2 3"),
        (SAND, "front back side"),
        (COUPLE, "her him"),
        (COUPLE, "left right front back"),
        (FONT, "front back left right"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_words_that_do_not_tell_the_order_are_asked_for_with_the_setting_that_settles_it(
    of: task.Task, words: str
) -> None:
    asked = panels_of(words.split(), of)
    assert isinstance(asked, Ambiguous)
    first = ",".join(words.split()[: len(of.markers)])
    assert str(asked).endswith(f"name them in the order {', '.join(of.markers)}: --set group.roles={first}")
    assert all(f"'{word}'" in str(asked) for word in words.split())


def test_more_words_than_panels_leave_those_out_that_no_panel_is_for() -> None:
    assert panels_of(["after", "mask", "before"], SAND) == {"after": 1, "before": 0}
    assert panels_of(["before", "vorher", "after"], SAND) == {"before": 0, "vorher": 0, "after": 1}
    assert panels_of(["before"], SAND) == {"before": 0}


def test_a_picture_without_a_word_takes_the_panel_that_the_other_leaves() -> None:
    assert panels_of(["", "edit"], SAND) == {"": 0, "edit": 1}
    assert panels_of(["", "before"], SAND) == {"": 1, "before": 0}
    asked = panels_of(["", "2"], SAND)
    assert isinstance(asked, Ambiguous) and "'-' (no word at all)" in str(asked)
    assert panels_of(["", "2"], task.load("sandstorm", [asked.settles.removeprefix("--set ")])) == {"": 0, "2": 1}


def test_columns_may_say_it_in_more_than_one_word() -> None:
    assert panels_of(["Front view", "back view"], SAND) == {"Front view": 0, "back view": 1}
    assert panels_of(["photo before edit", "after edit"], SAND) == {"photo before edit": 0, "after edit": 1}


def test_roles_are_set_as_words_in_panel_order_or_by_marker_and_come_before_all_else() -> None:
    by_order = task.load("sandstorm", ["group.roles=after,before"])
    assert panels_of(["before", "after"], by_order) == {"before": 1, "after": 0}
    by_marker = task.load("sandstorm", {"group.roles": {"[TOP]": ["dry"], "[BOTTOM]": ["wet", "soaked"]}})
    assert panels_of(["wet", "dry", "soaked"], by_marker) == {"wet": 1, "dry": 0, "soaked": 1}
    with pytest.raises(BadInput, match=r"group.roles names 3; it takes the markers \[TOP\] \[BOTTOM\], or 2 words"):
        task.load("sandstorm", ["group.roles=a,b,c"])
    with pytest.raises(BadInput, match="must be a table with a list of words for each marker, or one word for each"):
        task.load("sandstorm", ["group.roles=3"])


def test_a_question_with_commas_in_its_words_can_be_pasted() -> None:
    asked = panels_of(["a, b", "c"], SAND)
    assert isinstance(asked, Ambiguous)
    assert asked.settles == """--set 'group.roles=["a, b", "c"]'"""
    assert panels_of(["c", "a, b"], task.load("sandstorm", ['group.roles=["a, b", "c"]'])) == {"a, b": 0, "c": 1}
