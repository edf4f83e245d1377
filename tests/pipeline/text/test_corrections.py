"""What a person says of a caption's parts, applied to them, and how it follows panels and names."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import task
from pipeline.records import Appearance, Corrections, Parts, Person, Shown, Tie
from pipeline.text import corrections, grammar
from pipeline.text.corrections import corrected, rearranged, shown_in

STORYBOARD = task.load("storyboard")
PANELS = 3
MARA, LEO = Person("Mara", "a tall woman"), Person("Leo", "a small man", "his hat")
PARTS = Parts(
    (MARA, LEO),
    (
        Shown("<Mara> by the sea", (Appearance("Mara"),)),
        Shown("<Leo> in town", (Appearance("Leo", "a small man in a top hat"),)),
        Shown("<Mara> meets <Leo>", (Appearance("Mara"), Appearance("Leo", "a small man in a cap"))),
    ),
    "a day of <Mara>",
    (Tie("the sea", (0, 1)), Tie("a kite", (0, 1, 2))),
    (2,),
)

panels = st.lists(st.integers(0, PANELS - 1), unique=True).map(lambda found: tuple(sorted(found)))
ties = st.lists(
    st.builds(Tie, st.text(min_size=1), st.sampled_from(((0, 1), (0, 2), (1, 2), (0, 1, 2)))), max_size=3
).map(tuple)
people = st.lists(
    st.builds(Appearance, st.sampled_from(("Mara", "Leo", "Zeno")), st.sampled_from(("", "in a coat"))),
    max_size=2,
    unique_by=lambda one: one.name,
).map(tuple)
shown = st.just(()) | st.tuples(*[st.none() | people] * PANELS)
said = st.builds(Corrections, st.none() | ties, st.none() | panels, shown)


def test_what_is_not_corrected_stays_the_captioners() -> None:
    assert corrected(PARTS, None) is PARTS
    assert replace(corrected(PARTS, Corrections()), corrections=None) == PARTS
    other = corrected(PARTS, Corrections(ties=(Tie("the town", (1, 2)),)))
    assert (other.ties, other.strangers, other.panels) == ((Tie("the town", (1, 2)),), (2,), PARTS.panels)


def test_that_all_panels_belong_takes_back_what_the_captioner_called_strangers_or_unrelated() -> None:
    assert corrected(PARTS, Corrections(strangers=())).strangers == ()
    apart = replace(PARTS, strangers=(), unrelated="all differ")
    assert corrected(apart, Corrections(strangers=())).unrelated == ""
    assert corrected(apart, Corrections(ties=(Tie("a kite", (0, 1)),))).unrelated == ""
    assert corrected(apart, Corrections(ties=())).unrelated == "all differ"


def test_a_stranger_is_in_no_tie_and_unrelated_panels_have_none() -> None:
    apart = corrected(PARTS, Corrections(strangers=(1,)))
    assert (apart.ties, apart.strangers, apart.unrelated) == ((Tie("a kite", (0, 2)),), (1,), "")
    nothing = corrected(PARTS, Corrections(strangers=(0, 1, 2)))
    assert (nothing.ties, nothing.strangers, nothing.unrelated) == ((), (), corrections.NOTHING)
    reason = corrected(replace(PARTS, unrelated="all differ"), Corrections(strangers=(0, 1, 2)))
    assert reason.unrelated == "all differ"


def test_who_is_in_a_panel_is_what_a_person_says_whatever_its_text_names() -> None:
    assert [shown_in(PARTS, panel) for panel in range(PANELS)] == [("Mara",), ("Leo",), ("Mara", "Leo")]
    now = corrected(PARTS, Corrections(shown=(None, (), (Appearance("Leo", "in a coat"), Appearance("Zeno")))))
    assert [shown_in(now, panel) for panel in range(PANELS)] == [("Mara",), (), ("Leo",)]
    assert now.panels[2].people == (Appearance("Leo", "in a coat"), Appearance("Zeno"))
    same = corrected(PARTS, Corrections(shown=((Appearance("Mara", "in a coat"),), None, None)))
    assert same.panels[0].people == (Appearance("Mara"),)  # nothing about her changes


def test_looks_in_one_panel_stay_if_only_what_changes_is_reworded() -> None:
    kept = grammar.redescribed(PARTS, [Person("Leo", "a small man", "his hats")])
    assert kept.panels == PARTS.panels
    for other in (Person("Leo", "a tall man", "his hat"), Person("Leo", "a small man")):
        seen = [one.looks for panel in grammar.redescribed(PARTS, [other]).panels for one in panel.people]
        assert seen == [""] * 4


def test_a_reference_explains_whom_a_person_sees_in_it() -> None:
    own = STORYBOARD.model_copy(update={"condition": (1,)})
    assert "a tall woman" not in grammar.text_of(PARTS, own)
    elsewhere = corrected(PARTS, Corrections(shown=((), None, None)))
    assert "a tall woman" in grammar.text_of(elsewhere, own)
    assert grammar.inherited(PARTS, 2, (0,), STORYBOARD).startswith("<Mara> meets")
    assert grammar.inherited(elsewhere, 2, (0,), STORYBOARD).startswith("a tall woman")


@given(said)
def test_a_correction_applied_twice_changes_nothing_more(some: Corrections) -> None:
    once = corrected(PARTS, some)
    assert corrected(once, some) == once
    assert corrections.fit(some, PANELS)


@given(said, st.permutations(range(PANELS)))
def test_corrections_follow_panels_that_change_places_and_come_back_with_them(
    some: Corrections, places: list[int]
) -> None:
    there = rearranged(some, places)
    back = [places.index(panel) for panel in range(PANELS)]
    kept = some if any(one is not None for one in some.shown) else replace(some, shown=())
    assert rearranged(there, back) == kept
    moved = corrected(grammar.rearranged(PARTS, places), there)
    assert moved == replace(grammar.rearranged(corrected(PARTS, some), places), corrections=there)


@given(said, st.integers(0, PANELS - 1))
def test_of_a_new_picture_nothing_has_been_said(some: Corrections, gone: int) -> None:
    places = [None if panel == gone else panel for panel in range(PANELS)]
    left = rearranged(some, places)
    assert all(gone not in tie.panels and len(tie.panels) > 1 for tie in left.ties or ())
    assert gone not in (left.strangers or ()) and (not left.shown or left.shown[gone] is None)
    assert (left.ties is None, left.strangers is None) == (some.ties is None, some.strangers in {None, (0, 1, 2)})


@given(said)
def test_a_rendered_text_is_read_back_with_all_that_was_said(some: Corrections) -> None:
    parts = corrected(PARTS, some)
    once = grammar.reread(grammar.text_of(parts, STORYBOARD), parts, STORYBOARD)
    assert grammar.reread(grammar.text_of(once, STORYBOARD), once, STORYBOARD) == once
    assert (once.ties, once.strangers, once.unrelated) == (parts.ties, parts.strangers, parts.unrelated)
    assert [shown_in(once, panel) for panel in range(PANELS)] == [shown_in(parts, panel) for panel in range(PANELS)]
    assert once.corrections == some


def test_corrections_stay_when_the_text_is_edited_and_follow_new_names() -> None:
    some = Corrections(
        (Tie("the hat of <Mara>", (0, 1)),), (2,), (None, (Appearance("Mara"), Appearance("Leo", "in a coat")), None)
    )
    caption = grammar.caption_of(corrected(PARTS, some), STORYBOARD)
    assert "<Leo>, in a coat, in town" in caption.text
    edited = grammar.edited(caption, caption.text.replace("by the sea", "on a pier"), STORYBOARD)
    assert edited.parts is not None
    assert edited.parts.corrections == some and shown_in(edited.parts, 1) == ("Mara", "Leo")
    assert edited.parts.panels[1].text == "<Leo>, in town"
    renamed = grammar.edited(caption, caption.text.replace("<Mara>", "<Ines>"), STORYBOARD)
    assert renamed.parts is not None
    assert renamed.parts.ties == (Tie("the hat of <Ines>", (0, 1)),) and shown_in(renamed.parts, 1) == ("Ines", "Leo")


@pytest.mark.parametrize(
    "some",
    [Corrections(strangers=(3,)), Corrections((Tie("x", (0, 4)),)), Corrections(shown=(None,)), Corrections((), (-1,))],
)
def test_corrections_of_other_panels_do_not_fit(some: Corrections) -> None:
    assert not corrections.fit(some, PANELS)
