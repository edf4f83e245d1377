"""Numbers that tell real grids from shuffled and pasted ones, with intervals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation import measures, statistics
from training.evaluation.measures import Vectors
from training.evaluation.statistics import Draws, Estimate

D, N = 32, 3
NOTHING = np.empty((0, D), np.float32)


def unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)


def grids(count: int, seed: int = 0, *, tie: float = 1.0, fit: float = 1.0) -> list[Vectors]:
    """Grids whose panels share a direction of their own, as strongly as `tie`, and lie near their texts (`fit`)."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(count):
        own = rng.normal(size=(N, D))
        panels = unit(tie * rng.normal(size=D) + own)
        found.append(Vectors(panels, unit(fit * panels + 0.5 * unit(rng.normal(size=(N, D))))))
    return found


def shuffled(real: list[Vectors], seed: int = 1) -> list[Vectors]:
    rng = np.random.default_rng(seed)
    panels = rng.permutation(np.concatenate([grid.panels_ND for grid in real])).reshape(-1, N, D)
    return [Vectors(one, grid.texts_ND) for one, grid in zip(panels, real, strict=True)]


def means(scale: measures.Scale, some: list[Vectors]) -> tuple[float, float]:
    found = [measures.measure(grid, NOTHING) for grid in some]
    return float(np.mean([scale.followed(one) for one in found])), float(np.mean([scale.kept(one) for one in found]))


def test_real_grids_measure_one_and_shuffled_ones_nothing() -> None:
    real = grids(200)
    scale = measures.calibrate(real, ())
    followed, kept = means(scale, grids(200, 5))
    assert 0.9 < followed < 1.1 and 0.85 < kept < 1.1
    followed, kept = means(scale, shuffled(real))
    assert followed < 0.25 and kept < 0.25


def test_a_generator_that_pastes_one_panel_scores_nothing() -> None:
    scale = measures.calibrate(grids(50), ())
    pasted = [Vectors(np.repeat(grid.panels_ND[:1], N, axis=0), grid.texts_ND) for grid in grids(20, 5)]
    assert all(scale.is_copy(measures.measure(grid, NOTHING)) for grid in pasted)
    assert means(scale, pasted) == (0.0, 0.0)


def test_one_real_grid_in_a_hundred_is_called_a_copy() -> None:
    real = grids(200)
    scale = measures.calibrate(real, ())
    assert sum(scale.is_copy(measures.measure(grid, NOTHING)) for grid in real) == 2


def test_a_panel_that_was_trained_on_is_memorised() -> None:
    known = grids(30, 7)
    trained, scale = measures.panels_of(known), measures.calibrate(grids(30), known)
    assert scale.is_memorised(measures.measure(grids(30, 7)[0], trained))
    others = [scale.is_memorised(measures.measure(grid, trained)) for grid in grids(100, 9)]
    assert np.mean(others) < 0.2


@pytest.mark.parametrize("held_out", [0, 3, 40])
def test_a_copy_of_a_trained_grid_is_memorised_however_few_are_held_out(held_out: int) -> None:
    """With few, the grids that were trained on make the scale too; measured against themselves they hide every copy."""
    known = grids(30, 7)
    scale = measures.calibrate(grids(held_out, 3), known)
    assert scale.real == (held_out if held_out > measures.ENOUGH else held_out + 30)
    trained = measures.panels_of(known)
    assert all(scale.is_memorised(measures.measure(grid, trained)) for grid in known)


def test_retrieval_counts_panels_that_are_nearest_to_their_own_text() -> None:
    eye = np.eye(N, D, dtype=np.float32)
    assert measures.measure(Vectors(eye, eye), NOTHING).retrieval == 1
    assert measures.measure(Vectors(eye, eye[[1, 0, 2]]), NOTHING).retrieval == pytest.approx(1 / 3)


@pytest.mark.parametrize("real", [grids(1), shuffled(grids(40, tie=0.0, fit=0.0))])
def test_no_scale_is_made_of_grids_that_are_like_shuffled_ones_or_of_one(real: list[Vectors]) -> None:
    with pytest.raises(ValueError, match="real grids"):
        measures.calibrate([Vectors(grid.panels_ND, -grid.panels_ND) for grid in real], ())


@pytest.mark.parametrize(("tie", "enough"), [(1e-3, False), (1e-2, True)])
def test_no_scale_is_so_narrow_that_figures_would_be_rounding(tie: float, enough: bool) -> None:
    """Panels of one grid are more alike than those of others, but hardly by more than the last bits of the cosines."""
    rng = np.random.default_rng(0)
    looks = [np.repeat(unit(unit(np.ones((1, D))) + tie * rng.normal(size=(1, D))), N, axis=0) for _ in range(20)]
    real = [replace(grid, compared_NE=one) for grid, one in zip(grids(20), looks, strict=True)]
    if enough:
        low, high = measures.calibrate(real, ()).consistency
        assert high - low > measures.LEAST_APART
        return
    with pytest.raises(ValueError, match="no better than shuffled ones"):
        measures.calibrate(real, ())
    low, high = measures._ends(looks)
    assert low < high


# ---- intervals


def test_one_prompt_has_no_interval() -> None:
    """Whatever the seeds: they don't tell how other prompts vary."""
    rng = np.random.default_rng(0)
    for seeds in (1, 8):
        draws = Draws(1, seeds)
        one, other = (draws.score(values, values) for values in rng.uniform(0.2, 1, size=(2, 1, seeds)))
        assert one[0].interval is one[0].error is None and draws.mean(rng.uniform(size=(1, seeds))).interval is None
        assert statistics.difference(one, other) == Estimate(one[0].value - other[0].value)
    alone = statistics.known_mean(np.array([[0.5, 0.7], [np.nan, np.nan]]))
    assert alone and str(alone) == "0.60"


def test_scores_that_differ_by_rounding_are_equal() -> None:
    values, draws = np.random.default_rng(0).uniform(0.2, 1.0, size=(40, 2)), Draws(40, 2)
    apart = statistics.difference(draws.score(values - 1e-15, values), draws.score(values, values))
    assert str(apart) == "0.00 (0.00 to 0.00)"  # and no "-0.00"
    for few in (values, values[:6]):
        assert statistics.randomisation_test((few - 1e-15, few), (few, few)) == 1


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Seeds of one prompt share most of their value; taken for independent, the interval would be too narrow."""
    rng, hits = np.random.default_rng(0), 0
    for number in range(200):
        values = rng.normal(size=(40, 1)) + 0.2 * rng.normal(size=(40, 2))
        found = Draws(40, 2, seed=number).mean(values)
        hits += found.low <= 0 <= found.high
    assert 178 <= hits <= 200


def test_a_paired_difference_is_found_where_both_vary_more_than_they_differ() -> None:
    rng = np.random.default_rng(0)
    common = rng.uniform(0.2, 1.0, size=(40, 2))
    draws = Draws(40, 2)
    one, other = draws.score(common + 0.1, common + 0.1), draws.score(common, common)
    assert one[0].low < other[0].high  # apart they overlap
    assert (statistics.difference(one, other).low or 0) > 0.05
    assert statistics.randomisation_test((common + 0.1,) * 2, (common,) * 2) <= 0.001


@pytest.mark.parametrize(("prompts", "least"), [(2, 1 / 2), (5, 1 / 16), (6, 1 / 32), (13, 1 / 4096), (40, 1e-4)])
def test_few_prompts_can_t_be_significant_however_far_apart_the_scores_are(prompts: int, least: float) -> None:
    """The bootstrap says p = 0.001 of two prompts already."""
    ones = np.ones((prompts, 2))
    assert statistics.randomisation_test((ones, ones), (0 * ones, 0 * ones)) == pytest.approx(least)
    assert statistics.least_p(prompts) == pytest.approx(least)


@pytest.mark.parametrize("prompts", [4, 6])
def test_where_nothing_is_different_a_p_value_is_as_rarely_small_as_it_says(prompts: int) -> None:
    rng, found = np.random.default_rng(0), []
    for _ in range(300):
        common = rng.uniform(0.3, 0.7, size=(prompts, 1))
        one, other = (tuple(common + rng.normal(0, 0.2, size=(2, prompts, 2)).clip(-0.3)) for _ in range(2))
        found.append(statistics.randomisation_test(one, other))
    assert np.mean(np.array(found) <= 0.05) < 0.08
    assert np.mean(np.array(found) <= 0.5) == pytest.approx(0.5, abs=0.1)


def test_a_share_of_which_none_was_found_may_still_be_above_nothing() -> None:
    none = statistics.share(np.zeros((64, 2)))
    assert none.low == none.value == 0 and none.high == pytest.approx(0.029, abs=1e-3)
    some = statistics.share(np.repeat([[1.0, 0.0]], 10, axis=0))
    assert (some.value, some.low, some.high) == pytest.approx((0.5, 0.299, 0.701), abs=1e-3)
    assert statistics.share(np.ones((1, 8))) == Estimate(1.0)


def test_the_same_values_give_the_same_digits() -> None:
    values = np.random.default_rng(3).uniform(size=(10, 2))
    assert Draws(10, 2).mean(values) == Draws(10, 2).mean(values)


def test_a_score_is_nothing_if_texts_or_panels_are() -> None:
    ones, none = np.ones(1), np.zeros(1)
    assert statistics.score(ones, none) == statistics.score(none, ones) == statistics.score(none, none) == 0
    assert statistics.score(ones, ones) == 1


@given(st.lists(st.floats(0.0005, 1), min_size=1, max_size=8))
def test_corrected_p_values_keep_their_order_and_are_never_smaller(values: list[float]) -> None:
    found = statistics.holm(values)
    assert all(before <= after <= 1 for before, after in zip(values, found, strict=True))
    assert [value for _, value in sorted(zip(values, found, strict=True))] == sorted(found)
    assert min(found) == pytest.approx(min(1.0, len(values) * min(values)))


def test_the_first_within_one_standard_error_of_the_best_is_chosen() -> None:
    scores = {name: Estimate(value, 0, 1, 0.1) for name, value in (("a", 0.4), ("b", 0.72), ("c", 0.8), ("d", 0.75))}
    assert statistics.choose(scores) == "b"


def test_the_nearest_of_many_trained_panels_is_found_exactly() -> None:
    known, panels = measures.panels_of(grids(9_000, 3)), grids(1, 4)[0].panels_ND
    assert measures.nearest(panels, known)[:, 0] == pytest.approx((panels @ known.T).max(axis=1), abs=1e-6)


def test_without_held_out_grids_each_is_compared_with_the_others() -> None:
    """What the search over all panels comes to, by leaving out one grid after another."""
    known = grids(14, 7)
    others = [measures.panels_of([*known[:place], *known[place + 1 :]]) for place in range(len(known))]
    apart = [float((grid.panels_ND @ rest.T).max()) for grid, rest in zip(known, others, strict=True)]
    scale = measures.calibrate((), known)
    assert scale.memory == pytest.approx(np.percentile(apart, measures.COPY_PERCENTILE), abs=1e-6)


def test_another_encoder_compares_panels_and_the_scorer_reads_texts() -> None:
    real = grids(30)
    others = [replace(one, compared_NE=other.panels_ND) for one, other in zip(real, grids(30, 8), strict=True)]
    found, theirs = (measures.measure(some[0], NOTHING) for some in (real, others))
    assert (theirs.following, theirs.retrieval) == (found.following, found.retrieval)
    assert theirs.consistency == measures.measure(grids(30, 8)[0], NOTHING).consistency != found.consistency
    scale, plain, apart = (measures.calibrate(some, ()) for some in (others, real, grids(30, 8)))
    assert scale.following == plain.following
    assert (scale.consistency, scale.copies) == (apart.consistency, apart.copies)
    assert measures.panels_of(others).tobytes() == measures.panels_of(grids(30, 8)).tobytes()


def test_scenes_that_stay_the_same_have_no_diversity_and_real_ones_all_of_it() -> None:
    real = [replace(grid, backgrounds_NE=other.panels_ND) for grid, other in zip(grids(40), grids(40, 5), strict=True)]
    scale = measures.calibrate(real, ())
    assert np.mean([scale.varied(measures.measure(grid, NOTHING)) for grid in real]) == pytest.approx(1)
    still = replace(real[0], backgrounds_NE=np.repeat(real[0].panels_ND[:1], N, axis=0))
    assert scale.varied(measures.measure(still, NOTHING)) == pytest.approx(0, abs=1e-5)


def test_subjects_have_a_scale_of_their_own() -> None:
    real = [replace(grid, subjects_NE=other.panels_ND) for grid, other in zip(grids(40), grids(40, 5), strict=True)]
    scale = measures.calibrate(real, ())
    values = [scale.kept_subjects(measures.measure(grid, NOTHING)) for grid in real]
    assert np.mean([value for value in values if value is not None]) == pytest.approx(1, abs=0.1)
    strangers = replace(real[0], subjects_NE=np.concatenate([grid.panels_ND[:1] for grid in real[:N]]))
    value = scale.kept_subjects(measures.measure(strangers, NOTHING))
    assert value is not None and value < 0.4
    assert measures.calibrate(grids(40), ()).kept_subjects(measures.measure(real[0], NOTHING)) is None


def test_given_panels_are_not_measured_for_what_they_follow_and_drawn_ones_are_compared_with_them() -> None:
    grid, other = grids(2, 3)
    given = replace(grid, given=(0,))
    found, fits = measures.measure(given, NOTHING), np.diag(grid.panels_ND @ grid.texts_ND.T)
    assert found.following == pytest.approx(fits[1:].mean())
    assert found.to_given == pytest.approx((grid.panels_ND[1:] @ grid.panels_ND[0]).mean())
    assert found.consistency == measures.measure(grid, NOTHING).consistency
    memorised = measures.measure(given, grid.panels_ND[:1])
    assert memorised.memory == pytest.approx((grid.panels_ND[1:] @ grid.panels_ND[0]).max())
    real = replace(other, given=(0,), real_NE=other.panels_ND)
    assert measures.measure(real, NOTHING).pasted == pytest.approx(0, abs=1e-3)  # each is the real one in its place
    copied = replace(real, panels_ND=np.repeat(other.panels_ND[:1], N, axis=0))
    assert measures.measure(copied, NOTHING).pasted == pytest.approx(1, abs=1e-3)
