"""How people look: put behind their names, taken out again, put in the names' place, and found in other words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.text import looks

RABBIT = "a red rabbit with a top hat"


# ---- put


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
def test_looks_stand_behind_the_first_mention_between_commas(text: str, expected: str):
    assert looks.put(text, "Mara", RABBIT) == expected


@pytest.mark.parametrize("end", looks.ENDS)
def test_a_sign_that_closes_a_clause_needs_no_comma_before_it(end: str):
    assert looks.put(f"here is <Mara>{end} rain", "Mara", RABBIT) == f"here is <Mara>, {RABBIT}{end} rain"


@pytest.mark.parametrize("apostrophe", ["'", "\N{RIGHT SINGLE QUOTATION MARK}"])
def test_looks_stand_at_the_end_where_the_name_owns_something_and_no_more(apostrophe: str):
    text = f"<Mara>{apostrophe}s kite rises"
    assert looks.put(text, "Mara", RABBIT) == f"{text}, <Mara> being {RABBIT}"
    assert looks.take_out(looks.put(text, "Mara", RABBIT), "Mara", RABBIT) == text


@pytest.mark.parametrize("text", ["", "a kite rises", "Mara flying a kite", "<Maral> flying a kite"])
def test_a_text_without_the_name_in_brackets_stays_as_it_is(text: str):
    assert looks.put(text, "Mara", RABBIT) == looks.instead(text, "Mara", RABBIT) == text


def test_signs_of_patterns_in_names_and_looks_are_letters_like_others():
    name, own = "Mr. (X)", r"a man with \1 on a c++ shirt (torn)"
    told = looks.put(f"<{name}> runs", name, own)
    assert told == f"<{name}>, {own}, runs"
    assert looks.take_out(told, name, own) == f"<{name}>, runs"


# ---- take out


def test_looks_are_taken_out_wherever_they_stand_behind_the_name_and_nowhere_else():
    text = f"<Mara>, {RABBIT}, waves, <Bo>, {RABBIT}, too; {RABBIT} sleeps by <Mara>,  {RABBIT}"
    assert looks.take_out(text, "Mara", RABBIT) == f"<Mara>, waves, <Bo>, {RABBIT}, too; {RABBIT} sleeps by <Mara>"


def test_looks_that_are_the_beginning_of_a_longer_word_are_no_looks():
    assert looks.take_out("<Mara>, a mango in hand", "Mara", "a man") == "<Mara>, a mango in hand"


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
def test_what_was_put_in_and_taken_out_is_put_in_again_as_it_was(pieces: list[str], gap: str, own: str):
    text = gap.join(pieces)
    told = looks.put(text, "Mara", own)
    bare = looks.take_out(told, "Mara", own)
    assert own not in bare
    assert looks.put(bare, "Mara", own) == told
    assert bare.replace(",", "").split() == text.replace(",", "").split()


# ---- instead


def test_looks_take_the_place_of_the_first_mention():
    assert looks.instead("<Mara> waves to <Bo>, and <Mara> runs", "Mara", RABBIT) == (
        f"{RABBIT} waves to <Bo>, and <Mara> runs"
    )
    assert looks.instead("<Mara>'s kite rises", "Mara", RABBIT) == f"{RABBIT}'s kite rises"


# ---- tells


@pytest.mark.parametrize(
    "text",
    [
        f"<Mara>, {RABBIT}, flying a kite",
        "A rabbit, red all over, in a hat fit for the Top",
        "the hat of the rabbit is red",  # three words of four
    ],
)
def test_a_text_tells_looks_in_any_order_and_with_most_of_their_words(text: str):
    assert looks.tells(text, RABBIT)


@pytest.mark.parametrize("text", ["", "a red rabbit flying a kite", "a redder rabbit with a topmost hat"])
def test_half_of_the_words_or_words_that_are_only_alike_tell_nothing(text: str):
    assert not looks.tells(text, RABBIT)


@pytest.mark.parametrize("own", ["", "a man", "the man with a", "with"])
def test_looks_of_less_than_two_words_that_say_something_are_never_told(own: str):
    assert not looks.tells("a man with a man in the man", own)
