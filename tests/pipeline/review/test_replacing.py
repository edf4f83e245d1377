"""Find and replace over captions: what changes, what never does, and what can't be done is named before anything is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fuzzing import ANY_TEXT, fuzzed
from hypothesis import given
from hypothesis import strategies as st

from pipeline import task
from pipeline.errors import BadInput
from pipeline.records import Caption, Grid, Group, Layout, Parts, Person, Position, Record, Review, Row, Shown
from pipeline.review import replacing
from pipeline.review.reviews import Change
from pipeline.task import Task
from pipeline.text import grammar
from pipeline.text.counters import ESTIMATE

STORYBOARD = task.load("storyboard")
TEXT = (
    "[MOVIE-SHOTS] A blonde day at sea, [SCENE-1] <Rose> hauls a red net, [SCENE-2] blonde gulls circle; "
    "[SCENE-3] a rose and blondes dry."
)
PARTS = Parts(
    (Person("Rose", "a tall blonde woman"), Person("Bo", "a boy in red")),
    (Shown("<Rose> hauls a red net"), Shown("<Bo> and <Rose> sort the catch"), Shown("<Bo> sleeps on deck")),
    "<Rose> spends a day at sea",
)


def row(caption: Caption, name: str = "g-1", **more: object) -> Row:
    records = tuple(Record(f"r{panel}", "", "", Position()) for panel in range(len(caption.panels)))
    grid = Grid(name, Group(f"s-{name}", "", records, "", 1), Layout(len(records), 1, 64, 64), f"{name}.png")
    return replace(Row(grid, caption, decision="keep"), **more)  # type: ignore[arg-type]


def plain(text: str = TEXT, own: Task = STORYBOARD, **more: object) -> Row:
    return row(grammar.parse(text, own), **more)


def with_parts(own: Task = STORYBOARD) -> Row:
    return row(grammar.caption_of(PARTS, own))


def replaced(rows: Row, old: str, new: str, own: Task = STORYBOARD, *, inside_words: bool = False) -> Change:
    (change,) = replacing.find([rows], own, ESTIMATE, old, new, inside_words=inside_words)
    return change


@pytest.mark.parametrize(
    ("old", "new", "before", "after"),
    [
        ("blonde", "grey", "A blonde day", "A grey day"),
        ("blonde", "grey", "] blonde gulls circle; [", "] grey gulls circle; ["),
        ("red net", "", "hauls a red net,", "hauls a,"),
        ("A blonde day at", "By", "A blonde day at sea", "By sea"),
    ],
)
def test_whole_words_change_and_all_else_stays_as_it_was(old: str, new: str, before: str, after: str) -> None:
    change = replaced(plain(), old, new)
    assert after in change.review.text and change.review.text.count("[") == TEXT.count("[")
    assert "blondes dry." in change.review.text
    assert change.fields == (("caption", TEXT, change.review.text),)
    assert before not in change.review.text


def test_a_row_that_is_kept_stays_kept_and_another_is_judged_anew() -> None:
    assert replaced(plain(), "blonde", "grey").review.decision == "keep"
    assert replaced(plain(decision="drop"), "blonde", "grey").review.decision is None


def test_words_inside_longer_ones_change_on_demand() -> None:
    assert "a rose and greys dry" in replaced(plain(), "blonde", "grey", inside_words=True).review.text


@pytest.mark.parametrize("old", ["MOVIE", "SCENE", "[SCENE-2]", "[MOVIE-SHOTS]", "Rose", "zebra"])
def test_markers_prefix_and_names_are_never_replaced(old: str) -> None:
    with pytest.raises(BadInput, match="nothing was replaced"):
        replaced(plain(), old, "x", inside_words=True)


def test_the_opening_stays() -> None:
    own = task.load("font-design")
    panels = [f"[{place}] a sign in an image style here" for place in ("TOP-LEFT", "TOP-RIGHT", "BOTTOM-LEFT")]
    text = f"The four-panel image showcases an image of type, {', '.join(panels)}, [BOTTOM-RIGHT] a poster on a wall."
    change = replaced(plain(text, own), "image", "picture", own)
    assert change.review.text.startswith("The four-panel image showcases a")
    assert "an picture of type" in change.review.text and "picture style" in change.review.text


def test_looks_change_in_the_text_and_where_they_are_known() -> None:
    change = replaced(with_parts(), "blonde", "dark-haired")
    assert "<Rose>, a tall dark-haired woman" in change.review.text
    edited = grammar.edited(with_parts().caption, change.review.text, STORYBOARD)
    assert edited.parts is not None and edited.parts.people[0].looks == "a tall dark-haired woman"


def test_looks_that_no_text_tells_change_too() -> None:
    own = task.load("storyboard", ["caption.looks=never"])
    change = replaced(with_parts(own), "blonde", "dark", own)
    assert change.review.people == (Person("Rose", "a tall dark woman"),)
    assert change.fields == (
        (
            "people",
            "Rose: a tall blonde woman; Bo: a boy in red",
            "Rose: a tall dark woman; Bo: a boy in red",
        ),
    )
    assert change.review.text == with_parts(own).caption.text


def test_a_name_is_changed_with_its_brackets_and_keeps_its_looks() -> None:
    change = replaced(with_parts(), "<Rose>", "<Ines>")
    edited = grammar.edited(with_parts().caption, change.review.text, STORYBOARD)
    assert edited.problems == () and edited.parts is not None
    assert edited.parts.people[0] == Person("Ines", "a tall blonde woman")
    assert edited.parts.panels[1].text == "<Bo>, and <Ines> sort the catch"


def test_captions_that_would_lose_a_panel_or_break_a_marker_are_all_named_and_none_is_changed() -> None:
    bare = TEXT.replace("blonde gulls circle", "blonde")
    with pytest.raises(BadInput) as raised:
        replacing.find([plain(bare), plain(name="g-2")], STORYBOARD, ESTIMATE, "blonde", "")
    assert "g-1, panel_2: is empty" in str(raised.value) and "g-2" not in str(raised.value)
    for new in ("[SCENE-1]", "a [SCENE-3] b", "[MOVIE-SHOTS]"):
        with pytest.raises(BadInput, match="must not contain the"):
            replaced(plain(), "blonde", new)


def test_a_text_without_markers_is_changed_as_a_whole() -> None:
    change = replaced(plain("[MOVIE-SHOTS] scene 1: rain falls", decision="unsure"), "scene 1:", "[SCENE-1]")
    assert change.review.text == "[MOVIE-SHOTS] [SCENE-1] rain falls"


@pytest.mark.parametrize(("old", "new"), [("", "x"), (" \n", "x"), ("sea", " sea ")])
def test_nothing_and_the_same_are_refused(old: str, new: str) -> None:
    with pytest.raises(BadInput, match="give a text to look for, and another one"):
        replaced(plain(), old, new)


def test_a_preview_tells_each_part_and_counts_them() -> None:
    changes = replacing.find([plain(), with_parts()], STORYBOARD, ESTIMATE, "red", "green")
    assert replacing.count(changes, STORYBOARD) == {"panel_1": 2, "panel_2": 1}
    (field,) = replacing.by_field(changes[0], STORYBOARD).fields
    assert field == ("panel_1", "<Rose> hauls a red net", "<Rose> hauls a green net")


@fuzzed
@given(ANY_TEXT, ANY_TEXT, st.lists(st.sampled_from(["blonde", "<Rose>", "a", ",", "[SCENE-2]", " "]), max_size=4))
def test_fuzz_any_words_are_replaced_or_refused_in_a_sentence_and_markers_stay(
    old: str, new: str, pieces: list[str]
) -> None:
    for find in (old, " ".join(pieces), "blonde"):
        try:
            found = replacing.find([plain(), with_parts()], STORYBOARD, ESTIMATE, find, new, inside_words=True)
        except BadInput:
            continue
        for change in found:
            assert all(change.review.text.count(marker) == 1 for marker in STORYBOARD.markers)
            assert grammar.is_joint(change.review.text, STORYBOARD)


# ---- undo


def event(
    at: str, who: str, grid: str = "g-1", field: str = "caption", was: str = "", becomes: str = ""
) -> dict[str, str]:
    return {"at": at, "grid": grid, "who": who, "field": field, "was": was, "becomes": becomes}


WAS = TEXT.replace("blonde", "fair")
DONE = replacing.name_of("fair", "blonde")
REPLACED = event("1", DONE, was=WAS, becomes=TEXT)


def test_an_undo_restores_the_text_and_withdraws_the_review_of_an_untouched_row() -> None:
    undo = replacing.undo([plain()], STORYBOARD, ESTIMATE, [REPLACED], {"g-1": WAS})
    assert (undo.who, undo.stay) == (DONE, ())
    assert [change.review for change in undo.changes] == [Review("g-1", None)]
    assert [change.fields for change in undo.changes] == [(("caption", TEXT, WAS),)]


@pytest.mark.parametrize(
    ("other", "written"), [(event("0", "page", field="note"), WAS), (event("2", "page", field="note"), WAS), (None, "")]
)
def test_a_row_that_was_touched_otherwise_keeps_its_review(other: dict[str, str] | None, written: str) -> None:
    events = sorted(filter(None, [REPLACED, other]), key=lambda one: one["at"])
    undo = replacing.undo([plain()], STORYBOARD, ESTIMATE, events, {"g-1": written})
    assert undo.changes[0].review.text == WAS


def test_a_row_that_was_edited_since_stays_as_does_one_that_has_left() -> None:
    events = [REPLACED, event("1", DONE, "g-2", was=WAS, becomes=TEXT), event("1", DONE, "g-3", was=WAS, becomes=TEXT)]
    rows = [plain(), plain(TEXT.replace("net", "rope"), name="g-2")]
    undo = replacing.undo(rows, STORYBOARD, ESTIMATE, events, {})
    assert [change.review.grid for change in undo.changes] == ["g-1"] and undo.stay == ("g-2", "g-3")


def test_replacements_are_undone_last_first_and_each_once() -> None:
    second, undone = replacing.name_of("a", "b"), f"{replacing.UNDO}{replacing.name_of('a', 'b')}"
    events = [REPLACED, event("2", second, becomes=TEXT, was=WAS)]
    assert replacing.undo([plain()], STORYBOARD, ESTIMATE, events, {}).who == second
    events.append(event("3", undone, was=TEXT, becomes=WAS))
    assert replacing.undo([plain()], STORYBOARD, ESTIMATE, events, {}).who == DONE
    events.append(event("4", f"{replacing.UNDO}{DONE}"))
    with pytest.raises(BadInput, match="no replacement to undo"):
        replacing.undo([plain()], STORYBOARD, ESTIMATE, events, {})
