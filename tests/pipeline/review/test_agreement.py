"""How far reviewers agree: figures that can be worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.records import Decision, Word
from pipeline.review import agreement
from pipeline.review.agreement import Agreement


def grids(**said: str) -> list[list[Word]]:
    """What reviewers say of each grid: k, d, u or nothing (-), grid by grid."""
    names: dict[str, Decision] = {"k": "keep", "d": "drop", "u": "unsure"}
    return [
        [Word(name, names[letter]) for name, letter in zip(said, letters, strict=True) if letter != "-"]
        for letters in zip(*said.values(), strict=True)
    ]


def test_cohens_kappa_of_a_worked_example() -> None:
    """50 cases, 20 and 15 of them equal: 70% where chance gives 50%, so (0.7 - 0.5) / (1 - 0.5)."""
    said = grids(Ann="k" * 25 + "d" * 25, Ben="k" * 20 + "d" * 5 + "k" * 10 + "d" * 15)
    found = agreement.measure(said)
    assert found == Agreement(("Ann", "Ben"), 50, pytest.approx(0.7), pytest.approx(0.4))
    assert agreement.line(found) == "Ann and Ben agree on 70% of 50 grids (Cohen's kappa 0.40)"


@pytest.mark.parametrize(
    ("ann", "ben", "equal", "kappa"),
    [("kd", "kd", 1, 1), ("kd", "dk", 0, -1), ("kkdd", "kdkd", 0.5, 0), ("kk", "kk", 1, None), ("kk", "dd", 0, 0)],
)
def test_kappa_is_one_where_all_is_equal_zero_at_chance_and_none_where_all_say_the_same(
    ann: str, ben: str, equal: float, kappa: float | None
) -> None:
    found = agreement.measure(grids(Ann=ann, Ben=ben))
    assert found and (found.equal, found.kappa) == (equal, kappa)


def test_only_grids_that_two_have_decided_count_and_unsure_is_not_decided() -> None:
    found = agreement.measure(grids(Ann="kkdu-", Ben="kd-kk"))
    assert found and (found.grids, found.equal) == (2, 0.5)
    assert agreement.measure(grids(Ann="kk-u", Ben="--dk")) is None
    assert agreement.measure([]) is None


def test_of_three_reviewers_the_figures_are_means_over_pairs() -> None:
    """Ann and Ben say the same of all four, each differs from Cleo on half; the unnamed one has decided nothing else
    has."""
    found = agreement.measure([*grids(Ann="kkdd", Ben="kkdd", Cleo="kdkd"), [Word("", "keep")]])
    assert found == Agreement(("Ann", "Ben", "Cleo"), 4, pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert agreement.line(found) == (
        "Ann, Ben and Cleo agree on 66.7% of 4 grids (means over pairs: Cohen's kappa 0.33)"
    )


def test_the_reviewer_without_a_name_is_called_unnamed_and_one_grid_has_no_kappa() -> None:
    found = agreement.measure(grids(**{"": "k", "Ann": "k"}))
    assert found
    assert agreement.line(found) == "unnamed and Ann agree on 100% of 1 grid (no kappa, since all said the same)"


@given(st.lists(st.tuples(st.sampled_from("kd"), st.sampled_from("kd")), min_size=1))
def test_kappa_is_at_most_one_and_does_not_depend_on_who_is_first(pairs: list[tuple[str, str]]) -> None:
    ann, ben = ("".join(letters) for letters in zip(*pairs, strict=True))
    one, other = agreement.measure(grids(A=ann, B=ben)), agreement.measure(grids(A=ben, B=ann))
    assert one and other and one.kappa == other.kappa
    assert one.kappa is None or -1 <= one.kappa <= one.equal
