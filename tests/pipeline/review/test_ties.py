"""Ties, strangers and who is in a panel on one line, as they are checked, and in the file of decisions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.records import (
    Appearance,
    Caption,
    Corrections,
    Grid,
    Group,
    Layout,
    Parts,
    Person,
    Position,
    Record,
    Review,
    Score,
    Shown,
    Tie,
)
from pipeline.review import decisions, notes, spreadsheet, ties
from pipeline.review.decisions import FILE, Line
from pipeline.task import Task

COUNT = 3
PARTS = Parts(
    (Person("Mara", "tall"), Person("Leo", "small", "his hat")),
    (Shown("<Mara> walks"), Shown("<Leo> sits", (Appearance("Leo", "small in a cap"),)), Shown("rain falls")),
    "a day",
    (Tie("the sea", (0, 1)),),
    (2,),
)
CAPTION = Caption("", "", "", ("", "", ""), parts=PARTS)

seen = st.lists(st.integers(0, COUNT - 1), min_size=2, unique=True).map(lambda found: tuple(sorted(found)))
what = st.text(st.characters(codec="utf-8", exclude_characters=";"), min_size=1).filter(
    lambda text: bool(ties.ties_cell([Tie(text, (0, 1))]).removesuffix(": 1 and 2"))
)
corrections = st.builds(
    Corrections,
    st.none() | st.lists(st.builds(Tie, what, seen), max_size=3).map(tuple),
    st.none() | st.lists(st.integers(0, COUNT - 1), unique=True).map(tuple),
    st.just(())
    | st.tuples(
        *[st.none() | st.lists(st.builds(Appearance, st.sampled_from(("Mara", "Leo"))), max_size=1).map(tuple)] * COUNT
    ),
)


@given(corrections)
def test_what_is_written_on_one_line_is_read_back_also_from_a_spreadsheet(said: Corrections) -> None:
    kept = ties.checked(CAPTION, said)
    cell = ties.ties_cell(kept.ties or ())
    assert ties.ties_in(spreadsheet.unguard(spreadsheet.guard(cell))) == (kept.ties or ())
    cell = ties.strangers_cell(kept.strangers or (), COUNT)
    assert ties.strangers_in(spreadsheet.unguard(spreadsheet.guard(cell)), COUNT) == (kept.strangers or ())
    assert ties.checked(CAPTION, kept) == kept


@pytest.mark.parametrize("cell", ["1,3", "1 3", "3 and 1", " 1 and 3 ", "1, 3", "1 and, 3"])
def test_panels_may_be_written_in_other_ways(cell: str) -> None:
    assert ties.strangers_in(cell, COUNT) == (0, 2)
    assert ties.ties_in(f"at noon: the sea: {cell}") == (Tie("at noon: the sea", (0, 2)),)
    assert ties.strangers_in(" ALL", COUNT) == (0, 1, 2)


def test_who_is_where_is_told_with_the_looks_that_change() -> None:
    assert ties.shown_cell(PARTS) == "1: Mara; 2: Leo (small in a cap); 3: nobody"
    said = Corrections((), (0, 1), (None, (Appearance("Mara"), Appearance("Leo", "in a hat")), ()))
    assert ties.told(said) == "ties: none; strangers: 1 and 2; in panel 2: Mara, Leo (in a hat); in panel 3: nobody"
    assert ties.told(None) == ties.told(Corrections()) == ""


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (Corrections((Tie(" ", (0, 1)),)), "ties: one has no text; say what its panels have in common, or remove it"),
        (Corrections((Tie("a kite", (0,)),)), "ties: 'a kite' is seen in 1 panel; a tie takes two or more"),
        (Corrections((Tie("a kite", (0, 3)),)), "ties: there is no panel 4; the grid has 3 panels"),
        (Corrections(strangers=(-1,)), "strangers: there is no panel 0; the grid has 3 panels"),
        (Corrections(shown=((Appearance("Zeno"),), None, None)),
         "people: 'Zeno' is not in this grid; its caption names Mara, Leo"),
        (Corrections(shown=((Appearance("Leo", "a <b>"),), None, None)),
         "people: the looks of Leo contain '<'; write them without ; < > [ ]"),
        (Corrections(shown=((),)), "people: the grid has 3 panels, not 1; say who is in each"),
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_refused_with_a_sentence(said: Corrections, message: str) -> None:
    with pytest.raises(BadInput) as refused:
        ties.checked(CAPTION, said)
    assert str(refused.value) == message


def test_what_separates_ties_becomes_a_comma_within_one() -> None:
    kept = ties.checked(CAPTION, Corrections((Tie("a kite; red", (0, 1)),)))
    assert kept.ties == (Tie("a kite, red", (0, 1)),)


def test_a_plain_text_holds_no_ties() -> None:
    with pytest.raises(
        BadInput, match=r"^strangers: the caption is plain text and holds no ties and no people; edit its text"
    ):
        ties.checked(Caption("", "", "", ()), Corrections(strangers=()))


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("the sea", "ties: 'the sea' does not say in which panels it is seen; write it as 'the beach: 1 and 3'"),
        ("the sea: 1 or 2", "ties: 'the sea: 1 or 2' does not say in which panels it is seen"),
    ],
)
def test_a_tie_without_panels_is_refused(cell: str, message: str) -> None:
    with pytest.raises(BadInput) as refused:
        ties.ties_in(cell)
    assert str(refused.value).startswith(message)
    with pytest.raises(BadInput, match="strangers: 'none' is neither numbers of panels, such as '1 and 3', nor 'all'"):
        ties.strangers_in("none", COUNT)


def test_the_later_word_counts_for_what_it_speaks_of() -> None:
    first = Corrections((Tie("a", (0, 1)),), None, (None, (), None))
    later = Corrections(None, (2,), ((Appearance("Leo"),), None, None))
    assert ties.merged(first, later) == Corrections((Tie("a", (0, 1)),), (2,), ((Appearance("Leo"),), (), None))
    assert ties.merged(None, later) == later and ties.merged(first, None) == first


def test_strangers_are_those_of_a_person_or_else_of_captioner_and_score() -> None:
    failed = [Score("belongs 1", 0, 1, False, ""), Score("belongs 2", 2, 1, True, ""), Score("text 2", 0, 1, False, "")]
    assert notes.strangers_of(PARTS, failed) == (0, 2)
    assert notes.strangers_of(ties.described(CAPTION, (), Corrections(strangers=(1,))).parts, failed) == (1,)
    assert notes.strangers_of(None, failed) == ()


# ---- decisions


def grid() -> Grid:
    records = tuple(Record(name, f"{name}.png", name, Position()) for name in "abc")
    return Grid("g-1", Group("s-1", "storyboard", records, "", 1), Layout(3, 1, 64, 32), "g.png", "pixels")


@given(said=corrections)
def test_corrections_are_read_back_from_the_file_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, said: Corrections
) -> None:
    folder = tmp_path_factory.mktemp("run")
    review = Review("g-1", None, corrections=ties.checked(CAPTION, said))
    decisions.append(folder, [decisions.line_on(grid(), review, [], "page")])
    (line,) = decisions.read(folder).lines
    assert line.review == review


def test_a_line_holds_only_what_is_said_and_lines_without_corrections_are_read(tmp_path: Path) -> None:
    decisions.append(
        tmp_path, [decisions.line_on(grid(), Review("g-1", None, corrections=Corrections((), ())), [], "page")]
    )
    written = json.loads((tmp_path / FILE).read_text())
    assert written["decided"] == {"corrections": {"ties": [], "strangers": []}}
    old = {"at": "then", "who": "page", "grid": "g-1", "panels": ["a", "b", "c"], "decided": {"note": "x"}}
    (line,) = decisions.parse(json.dumps(old).encode()).lines
    assert line.review == Review("g-1", None, "x")


def test_corrections_of_panels_that_the_task_lacks_wait_as_unmatched(storyboard: Task) -> None:
    line = Line(
        "now", "page", "g-1", ("a", "b", "c"), review=Review("g-1", None, corrections=Corrections(strangers=(3,)))
    )
    found = decisions.match([line], [grid()], {}, storyboard)
    assert found.reviews == {}
    assert [one.why for one in found.unmatched] == ["it speaks of panels that the task, which has 3, lacks"]
    assert decisions.row_of(line)["corrections"] == "strangers: 4"
