"""Words and phrases in texts of any language: found as whole words, and replaced."""

from __future__ import annotations

import pytest
from fuzzing import ANY_TEXT, fuzzed
from hypothesis import given
from hypothesis import strategies as st

from pipeline.text import phrases


@pytest.mark.parametrize(
    ("text", "phrase", "there"),
    [
        ("a BLONDE woman", "blonde", True),
        ("a blonde-haired woman", "blonde", True),
        ("two blondes", "blonde", False),
        ("her hair's colour", "hair", True),
        ("her green eyes", "green eyes", True),
        ("evergreen eyes", "green eyes", False),
        ("auf der STRASSE", "straße", True),
        ("deux cafe\u0301s", "café", False),
        ("un cafe\u0301 noir", "café", True),
        ("blo\u00adnde", "blonde", True),  # a soft hyphen
        ("ＢＬＯＮＤＥ", "blonde", True),  # noqa: RUF001  (full width)
        ("БЕЛОКУРЫЕ волосы", "белокурые", True),
        ("一个金发女孩", "金发", True),
        ("金髪の少女", "金髪", True),
        ("금발의 소녀", "금발", True),
        ("หญิงสาวผมยาว", "ผม", True),
        ("लंबे बाल", "बाल", True),
        ("सोने की बाली", "बाल", False),  # an earring
        ("شعر أشقر", "شعر", True),
    ],
)
def test_a_phrase_is_found_as_whole_words_in_any_language(text: str, phrase: str, there: bool) -> None:
    assert phrases.contains(phrases.folded(text), phrases.folded(phrase)) is there


@pytest.mark.parametrize(
    ("text", "old", "new", "expected"),
    [
        ("a red cap and a red coat", "red", "blue", "a blue cap and a blue coat"),
        ("a redder cap", "red", "blue", "a redder cap"),
        ("a Red cap", "red", "blue", "a Red cap"),
        ("a (red) cap", "red", r"\1", r"a (\1) cap"),
        ("<Rose> waters a Rose", "Rose", "tulip", "<Rose> waters a tulip"),
        ("<Rose> waters a Rose", "<Rose>", "<Ines>", "<Ines> waters a Rose"),
        ("a girl with blonde hair, running", "with blonde hair", "", "a girl, running"),
        ("a girl, blonde hair, running", "blonde hair", "", "a girl, running"),
        ("blonde", "blonde", "", ""),
        ("一个金发女孩", "金发", "黑发", "一个黑发女孩"),
    ],
)
def test_a_phrase_is_replaced_letter_for_letter(text: str, old: str, new: str, expected: str) -> None:
    assert phrases.swap(text, old, new) == expected


def test_parts_of_longer_words_are_replaced_on_demand() -> None:
    assert phrases.swap("colours and discoloured", "colour", "color", inside_words=True) == "colors and discolored"


@fuzzed
@given(ANY_TEXT, ANY_TEXT, ANY_TEXT, st.booleans())
def test_fuzz_phrases_are_found_and_replaced_in_any_text(text: str, old: str, new: str, inside_words: bool) -> None:
    for place in phrases.places(text, old, inside_words=inside_words):
        assert text[place:].startswith(old)
    phrases.contains(phrases.folded(text), phrases.folded(old))
    swapped = phrases.swap(text, old, new, inside_words=inside_words)
    if not old or old not in text:
        assert swapped == text
