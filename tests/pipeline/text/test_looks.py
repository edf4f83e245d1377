"""How people look: inserted after their names, removed again, put in place of the names, and found in other words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.records import Caption
from pipeline.text import looks

RABBIT = "a red rabbit with a top hat"


# ---- inserting


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<Mara> flying a kite", f"<Mara>, {RABBIT}, flying a kite"),
        ("<Mara>, flying a kite", f"<Mara>, {RABBIT}, flying a kite"),
        ("rain falls on <Mara>", f"rain falls on <Mara>, {RABBIT}"),
        ("a kite (that of <Mara>) rises", f"a kite (that of <Mara>, {RABBIT}) rises"),
        ("<Mara> waves to <Bo>, <Mara> and a dog", f"<Mara>, {RABBIT}, waves to <Bo>, <Mara> and a dog"),
        ("<Mara>'s kite passes over <Mara>; rain", f"<Mara>'s kite passes over <Mara>, {RABBIT}; rain"),
    ],
)
def test_looks_follow_the_first_mention_between_commas(text: str, expected: str):
    assert looks.put(text, "Mara", RABBIT) == expected


@pytest.mark.parametrize("end", looks.ENDS)
def test_punctuation_that_closes_a_clause_needs_no_comma_before_it(end: str):
    assert looks.put(f"here is <Mara>{end} rain", "Mara", RABBIT) == f"here is <Mara>, {RABBIT}{end} rain"


@pytest.mark.parametrize("apostrophe", ["'", "\N{RIGHT SINGLE QUOTATION MARK}"])
def test_looks_come_at_the_end_of_the_text_if_the_name_is_possessive(apostrophe: str):
    text = f"<Mara>{apostrophe}s kite rises"
    assert looks.put(text, "Mara", RABBIT) == f"{text}, <Mara> being {RABBIT}"
    assert looks.take_out(looks.put(text, "Mara", RABBIT), {"Mara": [RABBIT]}) == text


@pytest.mark.parametrize("text", ["", "a kite rises", "Mara flying a kite", "<Maral> flying a kite"])
def test_a_text_without_the_name_in_brackets_is_unchanged(text: str):
    assert looks.put(text, "Mara", RABBIT) == looks.instead(text, "Mara", RABBIT) == text


def test_regular_expression_characters_in_names_and_looks_are_literal():
    name, own = "Mr. (X)", r"a man with \1 on a c++ shirt (torn)"
    inserted = looks.put(f"<{name}> runs", name, own)
    assert inserted == f"<{name}>, {own}, runs"
    assert looks.take_out(inserted, {name: [own]}) == f"<{name}>, runs"


# ---- removing


def test_looks_are_removed_once_where_the_text_goes_on_with_the_same_words():
    text = "<Bo>, a man with a dog"
    inserted = looks.put(text, "Bo", "a man")
    assert inserted == "<Bo>, a man, a man with a dog"
    assert looks.take_out(inserted, {"Bo": ["a man"]}) == text


def test_looks_are_removed_wherever_they_follow_the_name_and_nowhere_else():
    text = f"<Mara>, {RABBIT}, waves, <Bo>, {RABBIT}, too; {RABBIT} sleeps by <Mara>,  {RABBIT}"
    assert looks.take_out(text, {"Mara": [RABBIT]}) == f"<Mara>, waves, <Bo>, {RABBIT}, too; {RABBIT} sleeps by <Mara>"


def test_looks_that_are_the_start_of_a_longer_word_are_not_removed():
    assert looks.take_out("<Mara>, a mango in hand", {"Mara": ["a man"]}) == "<Mara>, a mango in hand"


PIECES = st.sampled_from(
    [
        "<Mara>",
        "<Mara>'s kite",
        "<Mara>\N{RIGHT SINGLE QUOTATION MARK}s",
        "<Bo>",
        "Mara",
        "rain",
        "falls",
        "a",
        *",;:.!?()",
    ]
)


@given(st.lists(PIECES, max_size=9), st.sampled_from(["", " "]), st.sampled_from([RABBIT, "a man", "a boy, asleep"]))
def test_removing_and_inserting_looks_again_restores_the_text(pieces: list[str], gap: str, own: str):
    text = gap.join(pieces)
    inserted = looks.put(text, "Mara", own)
    bare = looks.take_out(inserted, {"Mara": [own]})
    assert own not in bare
    assert looks.put(bare, "Mara", own) == inserted
    assert bare.replace(",", "").split() == text.replace(",", "").split()


# ---- replacing


def test_looks_replace_the_first_mention():
    assert looks.instead("<Mara> waves to <Bo>, and <Mara> runs", "Mara", RABBIT) == (
        f"{RABBIT} waves to <Bo>, and <Mara> runs"
    )
    assert looks.instead("<Mara>'s kite rises", "Mara", RABBIT) == f"{RABBIT}'s kite rises"


# ---- detecting


@pytest.mark.parametrize(
    "text",
    [
        f"<Mara>, {RABBIT}, flying a kite",
        "A rabbit, red all over, in a hat fit for the Top",
        "the hat of the rabbit is red",  # three words of four
    ],
)
def test_a_text_states_looks_in_any_order_and_with_most_of_their_words(text: str):
    assert looks.tells(text, RABBIT)


@pytest.mark.parametrize("text", ["", "a red rabbit flying a kite", "a redder rabbit with a topmost hat"])
def test_half_of_the_words_or_merely_similar_words_do_not_count(text: str):
    assert not looks.tells(text, RABBIT)


@pytest.mark.parametrize("own", ["", "a man", "the man with a", "with"])
def test_looks_with_fewer_than_two_meaningful_words_are_never_detected(own: str):
    assert not looks.tells("a man with a man in the man", own)


# ---- told again and again

ONCE = f"a story about <Mara>, {RABBIT}, on the beach"


@pytest.mark.parametrize(
    ("summary", "panels", "again"),
    [
        (ONCE, ("<Mara> flies a kite", "<Mara>, flying a kite", "<Mara> on the beach"), False),
        (ONCE, (f"<Mara>, {RABBIT}, flies a kite", "<Mara> sits", "<Mara> runs"), False),
        (ONCE, tuple(f"a wide shot of <Mara>, {RABBIT}, {act}" for act in ("flying", "sitting", "running")), True),
        (ONCE, (f"<Mara>, {RABBIT}, sits", "an empty beach", "<Mara> with a top hat, a red rabbit, runs"), True),
        (ONCE, (f"<Mara>, {RABBIT}, sits", "an empty beach", "a red kite"), False),
        ("a day out", (f"<Bo>'s kite, <Bo> being {RABBIT}", f"<Bo>, {RABBIT}"), True),
        ("a story of a red rabbit with a top hat", ("it flies a kite", "it sits"), False),
        ("a story", ("a red rabbit with a top hat, sitting", "in rain, a red rabbit with a top hat runs"), True),
        ("a story", ("a red rabbit with a top hat",), False),
    ],
)
def test_looks_that_every_panel_tells_are_noticed(summary: str, panels: tuple[str, ...], again: bool) -> None:
    names = tuple(dict.fromkeys(looks.NAMED.findall(" ".join((summary, *panels)))))
    assert looks.in_every_panel(Caption("", "", summary, panels, names=names)) is again
