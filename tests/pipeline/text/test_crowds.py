"""Thousands of names, tags and looks in one caption: all of it is read, checked and changed, and nothing hangs.

A test of this file that runs into its limit has met something whose time grows with the square of the text.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache

import pytest
from fuzzing import fuzzed
from hypothesis import given
from hypothesis import strategies as st

from pipeline import task
from pipeline.captioning import replies
from pipeline.errors import BadInput
from pipeline.records import Appearance, Caption, Grid, Group, Layout, Parts, Person, Position, Record, Row, Shown
from pipeline.review import csv_table, spreadsheet
from pipeline.review.people import people_cell, people_in
from pipeline.text import grammar, lint
from pipeline.text.counters import ESTIMATE
from pipeline.text.markers import BRACKETS, NAME, whole

pytestmark = pytest.mark.timeout(60)
STORYBOARD = task.load("storyboard")
MANY = 12_000
CROWD = [f"N{number}k" for number in range(MANY)]
SOME = CROWD[:1_500]
"""As many people as an answer of the greatest length can describe."""
PANELS = ("a boat leaves the harbour", "gulls circle the mast", "the nets dry here")
LONG = lint.LONGEST + 1


def text_of(first: str) -> str:
    return f"[MOVIE-SHOTS] A day at sea, [SCENE-1] {first}, [SCENE-2] {PANELS[1]}, [SCENE-3] {PANELS[2]}."


@cache
def crowded() -> Caption:
    """A caption with parts: everybody in the first panel, each with looks of their own."""
    people = tuple(
        Person(name, f"a man in coat {name}", "clothes" if place % 2 else "") for place, name in enumerate(SOME)
    )
    seen = tuple(Appearance(person.name, f"{person.looks} there") for person in people)
    text = " ".join(f"<{name}>" for name in SOME)
    parts = Parts(people, (Shown(text, seen), Shown(PANELS[1]), Shown(PANELS[2])), "a day at sea")
    return grammar.caption_of(parts, STORYBOARD)


def row_of(caption: Caption) -> Row:
    records = tuple(Record(f"r{panel}", "", "", Position()) for panel in range(3))
    return Row(Grid("g-1", Group("s-1", "", records, "", 1), Layout(3, 1, 64, 64), "1.png"), caption)


def test_thousands_of_bare_names_are_put_in_brackets() -> None:
    text = grammar.bracket_names(f"{' '.join(CROWD)} and N1kk", CROWD)
    assert text == f"{' '.join(f'<{name}>' for name in CROWD)} and N1kk"


def test_thousands_of_people_get_other_names() -> None:
    parts = crowded().parts
    assert parts is not None
    anew = grammar.renamed(parts, {name: f"{name}-2" for name in SOME})
    assert anew.people[-1].name == f"{SOME[-1]}-2" and anew.people[-1].looks == f"a man in coat <{SOME[-1]}-2>"


def test_thousands_of_people_are_rendered_for_training_for_scoring_and_beside_given_panels() -> None:
    caption = crowded()
    assert caption.parts is not None
    assert f"<{SOME[0]}>, a man in coat {SOME[0]}" in caption.text
    assert grammar.alone(caption)[0].endswith(f"a man in coat {SOME[-1]} there")
    assert f"a man in coat {SOME[-1]}" in grammar.inherited(caption.parts, 0, [1], STORYBOARD)


def test_thousands_of_people_are_edited() -> None:
    caption = crowded()
    edited = grammar.edited(caption, caption.text.replace(f"<{SOME[0]}>", "<Somebody>"), STORYBOARD)
    assert edited.parts is not None
    assert edited.parts.people[0] == Person("Somebody", f"a man in coat {SOME[0]}")
    assert len(edited.parts.people) == len(SOME)


def test_an_edit_may_name_thousands_of_people_whom_nothing_describes() -> None:
    few = Parts(
        (Person("Ines", "a tall woman"),), (Shown("<Ines> rows", (Appearance("Ines"),)), *[Shown("rain")] * 2), ""
    )
    caption, text = grammar.caption_of(few, STORYBOARD), text_of(" ".join(f"<{name}>" for name in CROWD))
    edited = grammar.edited(caption, text, STORYBOARD)
    assert edited.parts is not None and [person.name for person in edited.parts.people] == CROWD
    assert f"the caption has {MANY} names, more than 24" in edited.problems
    assert len(grammar.alone(edited)) == 4 and grammar.text_of(edited.parts, STORYBOARD)


def test_the_looks_of_thousands_of_people_in_a_cell_are_read_and_compared() -> None:
    caption = crowded()
    cell = people_cell(caption.parts)
    assert len(people_in(cell)) == len(SOME)
    row, columns = row_of(caption), csv_table.columns([], STORYBOARD)
    (entry,) = csv_table.list_entries([row], STORYBOARD)
    assert set(columns) >= set(csv_table.edited_columns(STORYBOARD))
    changed = csv_table.guarded(entry | {"people": cell.replace("coat N5k", "a red cap", 1)}, STORYBOARD)
    (change,) = csv_table.find_changes([spreadsheet.Line(2, changed)], "table", [row], STORYBOARD, ESTIMATE)
    assert "a man in a red cap" in change.review.text
    lacking = csv_table.guarded(entry | {"people": cell.rpartition(";")[0]}, STORYBOARD)
    with pytest.raises(BadInput, match=f"people: {SOME[-1]} is left out"):
        csv_table.find_changes([spreadsheet.Line(2, lacking)], "table", [row], STORYBOARD, ESTIMATE)


def test_an_answer_full_of_people_is_read() -> None:
    people = [{"name": name, "looks": f"a man in coat {name}"} for name in SOME]
    panels = [{"text": " ".join(SOME), "people": []}, {"text": PANELS[1]}, {"text": PANELS[2]}]
    caption = replies.read(json.dumps({"panels": panels, "people": people, "summary": "a day at sea"}), STORYBOARD)
    assert caption.parts is not None and len(caption.parts.people) == len(SOME)


def test_thousands_of_tags_are_named_in_part_and_counted() -> None:
    tags = " ".join(f"[T{number}]" for number in range(MANY))
    problems = grammar.parse(text_of(f"a boat leaves {tags}"), STORYBOARD).problems
    assert "[T0] is not a marker of this task" in problems
    assert f"{MANY - lint.MOST_TAGS} more tags in brackets are not markers of this task" in problems
    assert len(problems) < 12


def test_a_text_that_went_astray_has_only_the_fault_of_its_length() -> None:
    text = text_of("x" * LONG)
    assert grammar.parse(text, STORYBOARD).problems == (
        f"the caption has {len(text):,} characters; more than 200,000 are not checked",
    )


@pytest.mark.parametrize(
    "sign", ["<", "[", "]", "'", '"', "«", ",", " ", "<a", "[a", "a ", "'a", "<a>", "[a]", ", <a>"]
)
def test_a_sign_repeated_tens_of_thousands_of_times_is_read_checked_and_edited(sign: str) -> None:
    caption = grammar.parse(text_of((sign * 100_000)[:80_000]), STORYBOARD)
    assert lint.faults(caption, STORYBOARD)
    edited = grammar.edited(replace(caption, parts=crowded().parts), caption.text, STORYBOARD)
    assert edited.text == caption.text
    assert spreadsheet.unguard(spreadsheet.guard(sign * 80_000)) == sign * 80_000


@fuzzed
@given(
    st.lists(st.one_of(st.text(max_size=4), st.sampled_from([*"[]<> .-", "Ann", "Jo", "Ann Jo", "<Ann>", "Annie"]))),
    st.lists(st.one_of(st.text(max_size=4), st.sampled_from(["Ann", "Jo", "Ann Jo", "Jo-Ann", "."])), max_size=6),
)
def test_names_are_put_in_brackets_as_one_pattern_of_them_all_would_do_it(pieces: list[str], names: list[str]) -> None:
    text, known = "".join(pieces), [name for name in names if NAME.fullmatch(f"<{name}>")]
    pattern = rf"{NAME.pattern}|{BRACKETS.pattern}|{whole(*known).pattern if known else '(?!)'}"
    expected = re.sub(pattern, lambda found: found[0] if found[0][0] in "<[" else f"<{found[0]}>", text)
    assert grammar.bracket_names(text, names) == expected
