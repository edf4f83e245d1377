"""Similarity of panels by vectors and by words, and the features of panels that are derived from it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.consistency.likeness import ByVector, ByWords, content_words, features, tf_idf, unit

BOTH = np.array([[0, 1]])


def words(*texts: str | list[str], known: set[str] | None = None) -> ByWords:
    """The measure for panels with one text or a list of texts each."""
    return ByWords([[text] if isinstance(text, str) else text for text in texts], known)


def alike(measure: ByVector | ByWords, one: int, other: int) -> float:
    return float(measure.pairs(np.array([one]), np.array([other]))[0])


# ---- vectors


def test_vectors_are_compared_by_cosine_similarity_whatever_their_length() -> None:
    measure = ByVector(unit(np.array([[3.0, 0], [0.5, 0.5], [0, 7], [-2, 0]])))
    found = measure.pairs(np.array([0, 0, 0, 0]), np.array([0, 1, 2, 3]))
    assert found == pytest.approx([1, math.sqrt(0.5), 0, -1])


def test_a_missing_vector_is_not_measured_and_a_zero_vector_is_similar_to_none() -> None:
    measure = ByVector(unit(np.array([[1.0, 0], [np.nan, np.nan], [0, 0]])))
    assert np.isnan(measure.pairs(np.array([0, 1, 1]), np.array([1, 0, 1]))).all()
    assert measure.pairs(np.array([0, 2]), np.array([2, 2])).tolist() == [0, 0]


@given(arrays(float, (4, 5), elements=st.floats(-100, 100)))
def test_cosine_similarity_is_symmetric_and_between_minus_one_and_one(rows: np.ndarray) -> None:
    measure = ByVector(unit(rows))
    one, other = (side.ravel() for side in np.meshgrid(range(4), range(4)))
    found = measure.pairs(one, other)
    assert (np.abs(found) <= 1 + 1e-9).all()
    np.testing.assert_allclose(found, measure.pairs(other, one))


# ---- words


def test_similarity_by_words_ignores_order_and_case() -> None:
    measure = words("A red rabbit with a hat", "the hat, red, on the RABBIT", "a blue bear")
    assert alike(measure, 0, 1) == pytest.approx(1)
    assert alike(measure, 0, 2) == 0


def test_a_word_in_every_text_counts_little() -> None:
    said = ["a shot of the moon", "a shot of the beach", *(f"a shot of thing{n}" for n in range(20))]
    rare = ["a shot of the moon", "a dance of the moon", *(f"a shot of thing{n}" for n in range(20))]
    assert alike(words(*said), 0, 1) < 0.01
    assert alike(words(*rare), 0, 1) > 0.6


def test_rarer_words_count_more() -> None:
    """Computed by hand: `moon` is in two of three texts and `fox` in one."""
    row = tf_idf([{"moon", "fox"}, {"moon"}, {"owl"}]).toarray()[0]
    fox, moon = math.log(4 / 1), math.log(4 / 2)
    length = math.hypot(fox, moon)
    assert row.tolist() == pytest.approx([fox / length, moon / length, 0])  # in the order of the alphabet


def test_only_the_known_words_count_if_any_are_given() -> None:
    texts = ("a rabbit sleeps on the beach", "a bear swims on the beach", "a rabbit eats by the castle")
    known = {"beach", "castle"}
    assert alike(words(*texts, known=known), 0, 1) == pytest.approx(1)
    assert alike(words(*texts, known=known), 0, 2) == 0
    assert alike(words(*texts, known={"owl"}), 0, 1) == 0


def test_names_and_stop_words_do_not_count() -> None:
    assert content_words("<Mara> and the fox of <Li Bo> in a Hat") == {"fox", "hat"}
    assert alike(words("<Mara> with a kite", "<Mara> on a horse"), 0, 1) == 0


def test_the_two_people_who_look_most_alike_count() -> None:
    rabbit, bear, cat = "a red rabbit", "a blue bear", "a white cat"
    measure = words([rabbit, bear], [cat, rabbit], [cat], [])
    assert alike(measure, 0, 1) == pytest.approx(1)
    assert alike(measure, 1, 2) == pytest.approx(1)
    assert alike(measure, 0, 2) == 0


def test_a_panel_without_a_text_is_not_measured() -> None:
    measure = words("a rabbit", [], "a bear")
    assert np.isnan(measure.pairs(np.array([0, 1, 1]), np.array([1, 1, 2]))).all()
    assert alike(measure, 0, 2) == 0
    nobody = words([], [])
    assert np.isnan(alike(nobody, 0, 1))


@given(st.lists(st.lists(st.text("abc ", max_size=6), max_size=3), min_size=2, max_size=5))
def test_similarity_by_words_is_symmetric_and_between_zero_and_one(texts: list[list[str]]) -> None:
    measure = ByWords(texts)
    one, other = (side.ravel() for side in np.meshgrid(range(len(texts)), range(len(texts))))
    found = measure.pairs(one, other)
    np.testing.assert_allclose(found, measure.pairs(other, one))
    there = np.array([bool(texts[a] and texts[b]) for a, b in zip(one, other, strict=True)])
    assert (np.isnan(found) == ~there).all()
    assert ((found[there] >= 0) & (found[there] <= 1 + 1e-9)).all()
    for panel, some in enumerate(texts):
        if any(content_words(text) for text in some):
            assert alike(measure, panel, panel) == pytest.approx(1)


# ---- panel by panel

AXES = np.array([[1.0, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1]])


def test_a_panels_features_are_its_best_and_mean_similarity_to_the_others() -> None:
    found = features(
        {"v": ByVector(unit(AXES)), "w": words("a", "fox", "fox", "owl")}, np.array([[0, 1, 2], [3, 1, 2]])
    )
    half = math.sqrt(0.5)
    assert found.shape == (2, 3, 4)
    np.testing.assert_allclose(found[0, :, 0], [half, half, half])
    np.testing.assert_allclose(found[0, :, 1], [half / 2, half, half / 2])
    np.testing.assert_allclose(found[1, :, 2], [0, 1, 1])
    np.testing.assert_allclose(found[1, :, 3], [0, 0.5, 0.5])


def test_unmeasured_pairs_are_left_out_of_best_and_mean() -> None:
    rows = AXES.copy()
    rows[2] = np.nan
    found = features({"v": ByVector(unit(rows))}, np.array([[0, 1, 2]]))[0]
    np.testing.assert_allclose(found[:2], math.sqrt(0.5))  # held against one another alone
    assert np.isnan(found[2]).all()


def test_best_and_mean_are_equal_for_two_panels_and_missing_for_one() -> None:
    measure = {"v": ByVector(unit(AXES))}
    np.testing.assert_allclose(features(measure, np.array([[0, 1]])), math.sqrt(0.5))
    assert np.isnan(features(measure, np.array([[0], [1]]))).all()
    assert np.isnan(features({"v": ByVector(unit(np.full((2, 3), np.nan)))}, BOTH)).all()
