"""The rule for belonging, fitted to synthetic groups with known truth and their shuffled controls."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.consistency import belonging
from pipeline.consistency.belonging import FittedRule, Surprisal
from pipeline.consistency.likeness import ByVector, ByWords, Likeness, features, unit

PRICE = 3.0


@dataclass(frozen=True)
class World:
    """Groups of panels, some of them wrong; `places` is groups x panels."""

    measures: dict[str, Likeness]
    places: np.ndarray
    sources: list[int]
    spoilt: np.ndarray
    """By group."""

    def find(self, **more: object) -> FittedRule:
        return belonging.fit_run(self.measures, self.places, self.sources, PRICE, **more)  # type: ignore[arg-type]

    def scores(self, found: FittedRule) -> np.ndarray:
        """By group and panel."""
        return found.rule.scores(features(self.measures, self.places))


def world(
    groups: int,
    *,
    size: int = 3,
    spread: float = 0.7,
    spoilt: float = 0.0,
    one: bool = False,
    seed: int = 0,
) -> World:
    """Sources of three groups each. The panels of a group are near a common vector; those of wrong groups are random.

    Args:
        one: only the first panel of a wrong group is a stranger.
    """
    rng = np.random.default_rng(seed)
    own = np.repeat(rng.normal(size=(-(-groups // 3), 16)), 3, axis=0)[:groups]
    rows = own[:, None] + spread * rng.normal(size=(groups, size, 16))
    bad = np.zeros(groups, bool)
    bad[rng.choice(groups, round(spoilt * groups), replace=False)] = True
    strange = np.hypot(1, spread) * rng.normal(size=rows.shape)
    rows[bad, : 1 if one else size] = strange[bad, : 1 if one else size]
    places = np.arange(groups * size).reshape(groups, size)
    return World({"pictures": ByVector(unit(rows.reshape(-1, 16)))}, places, [n // 3 for n in range(groups)], bad)


def noise(panels: int, seed: int = 1) -> ByVector:
    return ByVector(unit(np.random.default_rng(seed).normal(size=(panels, 4))))


NOTHING = {
    "vectors that are missing": lambda panels: ByVector(unit(np.full((panels, 4), np.nan))),
    "one vector for all": lambda panels: ByVector(unit(np.ones((panels, 4)))),
    "vectors of zeros": lambda panels: ByVector(unit(np.zeros((panels, 4)))),
    "no texts": lambda panels: ByWords([[]] * panels),
    "one text for all": lambda panels: ByWords([["a red rabbit"]] * panels),
}
"""Uninformative measures."""


# ---- strangers out of a run's own panels


@given(st.data())
def test_shuffled_groups_never_have_two_panels_from_one_source(data: st.DataObject) -> None:
    size, each = data.draw(st.integers(2, 4)), data.draw(st.integers(1, 3))
    sources = [source for source in range(data.draw(st.integers(size + 1, 9))) for _ in range(each)]
    places = np.random.default_rng(0).permutation(len(sources) * size).reshape(-1, size)
    of = {panel: source for group, source in zip(places.tolist(), sources, strict=True) for panel in group}
    found = belonging.shuffle(places, sources)
    assert len(found.strangers) == len(found.one) == belonging.SHUFFLES * len(sources)
    for group in found.strangers.tolist():
        assert len({of[panel] for panel in group}) == size
    for group, place in zip(found.one.tolist(), found.place.tolist(), strict=True):
        assert {of[panel] for panel in group} - {of[group[place]]} == {of[group[place - 1]]}


def test_a_group_with_one_stranger_keeps_its_other_panels_in_place() -> None:
    places = np.arange(24).reshape(8, 3)
    found = belonging.shuffle(places, list(range(8)))
    for group, place in zip(found.one.tolist(), found.place.tolist(), strict=True):
        home = places[group[place - 1] // 3].tolist()
        assert [panel for n, panel in enumerate(group) if n != place] == [p for n, p in enumerate(home) if n != place]
        assert group[place] not in home


@pytest.mark.parametrize("sources", [["film"] * 9, ["film"] * 6 + ["a", "b", "c"]])
def test_if_one_source_has_most_groups_each_group_counts_as_a_source(sources: list[str]) -> None:
    found = belonging.shuffle(np.arange(27).reshape(9, 3), sources)
    assert all(len({panel // 3 for panel in group}) == 3 for group in found.strangers.tolist())


def test_with_fewer_sources_than_panels_no_group_stays_unshuffled() -> None:
    places = np.arange(30).reshape(10, 3)
    found = belonging.shuffle(places, ["a"] * 5 + ["b"] * 5)
    of = found.one // 15
    assert all(group[place] != group[place - 1] for group, place in zip(of.tolist(), found.place.tolist(), strict=True))
    assert all(len({panel // 15 for panel in group}) == 2 for group in found.strangers.tolist())


def test_shuffling_is_deterministic_and_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    places, sources = np.arange(60).reshape(20, 3), [n // 2 for n in range(20)]
    first, again = (belonging.shuffle(places, sources) for _ in range(2))
    for name in ("strangers", "one", "place"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    monkeypatch.setattr(belonging, "MOST", 50)
    assert len(belonging.shuffle(places, sources).strangers) == 50


# ---- surprises


def test_a_surprisal_is_the_negative_log_of_the_share_of_strangers_at_least_as_similar() -> None:
    found = Surprisal.among(np.arange(1000.0))
    shares = np.array([1, 0.5, 0.12, 0.001])
    assert found.of(np.array([-5.0, 500, 880, 5000])) == pytest.approx(-np.log(shares))


def test_an_unmeasured_value_has_no_surprisal_and_without_strangers_all_are_zero() -> None:
    assert np.isnan(Surprisal.among(np.arange(9.0)).of(np.array([np.nan]))).all()
    assert Surprisal.among(np.full(5, np.nan)).of(np.array([0.3, 7])).tolist() == [0, 0]


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=60), st.lists(st.floats(-2, 2), min_size=2, max_size=9))
def test_the_surprisal_grows_with_similarity_and_is_never_negative(strangers: list[float], asked: list[float]) -> None:
    found = Surprisal.among(np.array(strangers)).of(np.sort(asked))
    assert (np.diff(found) >= -1e-12).all() and (found >= 0).all() and np.isfinite(found).all()


# ---- the rule


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("groups", [belonging.FEWEST, 40, 300])
def test_strangers_are_separated_from_groups_that_belong_together(groups: int, size: int) -> None:
    made = world(groups, size=size, spread=0.5)
    found = made.find()
    assert (made.scores(found).min(axis=1) >= found.threshold).mean() > 0.95
    assert (found.strangers < found.threshold).mean() > 0.95
    assert (found.one < found.threshold).mean() > 0.9
    assert belonging.area(found).value > 0.97


def test_the_stranger_in_a_group_scores_lowest() -> None:
    made = world(120, spoilt=0.25, one=True, spread=0.5)
    found = made.find()
    scores = made.scores(found)
    assert (scores.argmin(axis=1)[made.spoilt] == 0).mean() > 0.95
    assert (scores[made.spoilt].min(axis=1) < found.threshold).mean() > 0.95
    assert (scores[~made.spoilt].min(axis=1) < found.threshold).mean() < 0.05


def test_a_more_informative_measure_weighs_more_and_shares_sum_to_one() -> None:
    made = world(100)
    measures = {"noise": noise(300)} | made.measures
    shares = belonging.fit_run(measures, made.places, made.sources, PRICE).rule.shares()
    assert shares["pictures"] > 3 * shares["noise"]
    assert sum(shares.values()) == pytest.approx(1)
    assert list(shares) == ["noise", "pictures"]


def test_several_weak_measures_separate_better_together_than_alone() -> None:
    worlds = [world(150, spread=1.5, seed=seed) for seed in range(3)]
    measures = {f"of {seed}": made.measures["pictures"] for seed, made in enumerate(worlds)}
    places, sources = worlds[0].places, worlds[0].sources
    alone = [belonging.area(made.find()).value for made in worlds]
    together = belonging.area(belonging.fit_run(measures, places, sources, PRICE)).value
    assert max(alone) < 0.97
    assert together > max(alone) + 0.02


@given(seed=st.integers(0, 2**16), groups=st.integers(8, 30), size=st.integers(2, 4), spoilt=st.floats(0, 1))
def test_similarity_never_counts_against_a_panel(seed: int, groups: int, size: int, spoilt: float) -> None:
    """Not even if correct panels are less similar than wrong ones, as in the second measure."""
    made = world(groups, size=size, spoilt=spoilt, seed=seed)
    rng = np.random.default_rng(seed)
    apart = np.tile(np.eye(size), (groups, 1)) + 0.1 * rng.normal(size=(groups * size, size))
    measures = made.measures | {"apart": ByVector(unit(apart))}
    found = belonging.fit_run(measures, made.places, made.sources, PRICE)
    assert (found.rule.weights >= 0).all() and np.isfinite(found.rule.weights).all()
    low = features(measures, made.places)
    assert (found.rule.scores(low + 0.1) >= found.rule.scores(low) - 1e-9).all()


def test_fitting_is_deterministic() -> None:
    first, again = (world(30, spoilt=0.2).find() for _ in range(2))
    assert first.threshold == again.threshold
    np.testing.assert_array_equal(first.rule.weights, again.rule.weights)
    np.testing.assert_array_equal(first.run, again.run)


def test_the_usual_value_is_the_median_of_the_best_similarities() -> None:
    made = world(30)
    best = features(made.measures, made.places)[..., 0]
    assert made.find().usual == {"pictures": pytest.approx(np.median(best))}


# ---- what can't be measured, and what tells nothing


@pytest.mark.parametrize("kind", NOTHING)
@pytest.mark.parametrize("groups", [8, 20, 31])
def test_a_run_whose_measures_are_uninformative_is_at_chance(kind: str, groups: int) -> None:
    places = np.arange(groups * 3).reshape(groups, 3)
    found = belonging.fit_run({"it": NOTHING[kind](groups * 3)}, places, [n // 2 for n in range(groups)], PRICE)
    area = belonging.area(found)
    assert (area.value, area.low, area.high) == pytest.approx((0.5, 0.5, 0.5))
    assert not area.cleared
    assert (found.run < found.threshold).mean() == 0


@pytest.mark.parametrize("kind", NOTHING)
def test_an_uninformative_measure_does_not_weaken_an_informative_one(kind: str) -> None:
    made = world(60, spread=0.5)
    found = belonging.fit_run({"it": NOTHING[kind](180)} | made.measures, made.places, made.sources, PRICE)
    assert belonging.area(found).value > 0.97
    assert (found.strangers < found.threshold).mean() > 0.95
    assert np.isfinite(found.rule.scores(features({"it": NOTHING[kind](180)} | made.measures, made.places))).all()


def test_an_unmeasured_panel_gets_half_the_median_of_correct_panels() -> None:
    made = world(60, spread=0.5)
    found = made.find()
    unknown = np.full((1, 1, 2), np.nan)
    usual = features(made.measures, made.places).reshape(-1, 2)
    middle = np.array([[np.median(surprise.of(column)) / 2 for surprise, column in
                        zip(found.rule.surprisals, usual.T, strict=True)]])  # fmt: skip
    assert found.rule.scores(unknown)[0, 0] == pytest.approx((middle @ found.rule.weights)[0] + found.rule.bias)


def test_a_few_panels_without_a_vector_do_no_harm() -> None:
    made = world(60, spread=0.5)
    measure = made.measures["pictures"]
    assert isinstance(measure, ByVector)
    measure.rows[::7] = np.nan
    found = made.find()
    assert np.isfinite(found.run).all()
    assert belonging.area(found).value > 0.9


# ---- the threshold


def lots(count: int, middle: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(middle, 1.0, count)


@pytest.mark.parametrize("kind", ["strangers", "one stranger", "both"])
@pytest.mark.parametrize(("one", "drift"), [(-1.0, 0.02), (-0.5, 0.04)])
def test_the_threshold_does_not_drift_with_the_share_of_wrong_groups(one: float, drift: float, kind: str) -> None:
    strangers, near, other = lots(2000, -1.5, 0), lots(2000, one, 1), lots(20_000, 3.0, 2)
    rejected, caught = [], []
    for share in (0.0, 0.25, 0.5):
        count = round(400 * share)
        middles = {"strangers": -1.5, "one stranger": one, "both": np.where(np.arange(count) % 2, -1.5, one)}[kind]
        limits = []
        for seed in range(3, 13):
            run = np.concatenate([lots(400 - count, 3.0, seed), lots(count, 0.0, -seed % 97) + middles])
            limits.append(belonging.threshold(run, strangers, near, PRICE))
        rejected.append(np.mean([(other < limit).mean() for limit in limits]))
        caught.append(np.mean([(near < limit).mean() for limit in limits]))
    assert max(rejected) < 0.07 and min(caught) > 0.8
    assert max(rejected) - min(rejected) < drift


def test_nor_does_it_drift_in_whole_runs() -> None:
    rejected = []
    for share in (0.0, 0.25, 0.5):
        made = world(300, spoilt=share)
        found = made.find()
        scores = made.scores(found).min(axis=1)
        rejected.append(float((scores[~made.spoilt] < found.threshold).mean()))
        assert not share or (scores[made.spoilt] < found.threshold).mean() > 0.95
    assert max(rejected) < 0.04
    assert max(rejected) - min(rejected) < 0.03


def test_the_higher_the_cost_of_false_rejects_the_lower_the_threshold() -> None:
    run, strangers, near = lots(200, 1.5, 0), lots(500, -1.5, 1), lots(500, 0.0, 2)
    limits = [belonging.threshold(run, strangers, near, price) for price in (0.5, 1, 3, 10, 100)]
    assert limits == sorted(limits, reverse=True) and limits[0] > limits[-1]


@given(st.integers(0, 2**16), st.integers(8, 60), st.floats(-3, 3), st.floats(0.5, 10))
def test_the_threshold_stays_within_the_scores_of_the_run_and_of_one_stranger_grids(
    seed: int, count: int, middle: float, price: float
) -> None:
    run, strangers, near = lots(count, middle, seed), lots(96, -1.5, seed + 1), lots(96, 0.0, seed + 2)
    limit = belonging.threshold(run, strangers, near, price)
    both = np.concatenate([run, near])
    assert both.min() <= limit <= both.max()


# ---- the run as a whole


SOURCES = {
    "a source for every group": lambda groups: list(range(groups)),
    "a source for three": lambda groups: [n // 3 for n in range(groups)],
    "one source for all": lambda groups: [0] * groups,
}


@pytest.mark.parametrize("sources", SOURCES)
def test_a_run_of_strangers_is_at_chance_whatever_its_sources(sources: str) -> None:
    made = replace(world(200, spoilt=1.0), sources=SOURCES[sources](200))
    area = belonging.area(made.find())
    assert area.value == pytest.approx(0.5, abs=0.06)
    assert area.low <= area.value <= area.high
    assert not area.cleared


@pytest.mark.parametrize("sources", SOURCES)
def test_a_run_of_groups_is_cleared_even_if_half_of_them_are_wrong(sources: str) -> None:
    runs = [replace(world(200, spoilt=share, spread=0.5), sources=SOURCES[sources](200)) for share in (0.0, 0.5)]
    whole, half = (belonging.area(made.find()) for made in runs)
    assert whole.low > 0.97 and whole.cleared
    assert 0.65 < half.value < 0.85 and half.cleared


def test_a_run_whose_groups_are_all_alike_is_at_chance() -> None:
    rows = np.random.default_rng(0).normal(size=(180, 16)) * 0.1 + 1
    made = replace(world(60), measures={"pictures": ByVector(unit(rows))})
    area = belonging.area(made.find())
    assert area.value == pytest.approx(0.5, abs=0.1)
    assert not area.cleared


def test_the_interval_comes_from_resampling_sources_not_groups() -> None:
    """With the same scores: if all groups come from six films, there are only six independent observations."""
    found = replace(world(120).find(), run=np.repeat([90.0, -90.0], 60))
    wide, narrow = (belonging.area(replace(found, sources=tuple(n // each for n in range(120)))) for each in (20, 1))
    assert wide.value == narrow.value == pytest.approx(0.5)
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low) > 0


def test_the_facts_have_value_interval_limit_and_verdict() -> None:
    facts = belonging.area(world(30).find()).facts()
    assert set(facts) == {"value", "low", "high", "line", "cleared"}
    assert (facts["line"], facts["cleared"]) == (belonging.LEAST_AREA, True)


def test_a_sample_of_very_many_groups_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(belonging, "MOST", 40)
    made = world(120, spread=0.5)
    found = made.find(decisions={119: True, 7: False})
    assert 40 <= len(found.run) <= 42
    assert len(found.sources) == len(found.run)
    assert len(found.strangers) == 40
    assert (made.scores(found).min(axis=1) >= found.threshold).mean() > 0.9
    assert belonging.area(found).value > 0.97


# ---- what is known besides


def test_a_prior_applies_to_the_run_and_to_strangers_alike() -> None:
    made = world(60)
    plain, raised = made.find(), made.find(prior=np.full((60, 3), 5.0))
    np.testing.assert_allclose(raised.run, plain.run + 5)
    np.testing.assert_allclose(raised.strangers, plain.strangers + 5)
    np.testing.assert_array_equal(raised.rule.weights, plain.rule.weights)
    assert belonging.area(raised) == belonging.area(plain)


# ---- what a person teaches


def both(groups: int = 90) -> tuple[dict[str, Likeness], np.ndarray, list[int], np.ndarray]:
    """A third of the groups is similar by pictures only, a third by colours only, a third by both."""
    one, two = world(groups, spread=0.4, seed=1), world(groups, spread=0.4, seed=2)
    kinds = np.arange(groups) % 3
    rng = np.random.default_rng(3)
    rows = []
    for made, other in ((one, 1), (two, 0)):
        measure = made.measures["pictures"]
        assert isinstance(measure, ByVector)
        mine = measure.rows.reshape(groups, 3, -1).copy()
        strange = rng.normal(size=mine.shape)
        mine[kinds == other] = strange[kinds == other]
        rows.append(ByVector(unit(mine.reshape(groups * 3, -1))))
    return {"pictures": rows[0], "colours": rows[1]}, one.places, one.sources, kinds


def test_a_persons_decisions_change_the_rule() -> None:
    """If a person drops groups that are similar by colours only, colours lose weight."""
    measures, places, sources, kinds = both()
    decided = {n: kinds[n] != 1 for n in range(60)}
    before = belonging.fit_run(measures, places, sources, PRICE)
    after = belonging.fit_run(measures, places, sources, PRICE, decisions=decided)
    assert after.rule.shares()["colours"] < before.rule.shares()["colours"] - 0.1
    read = features(measures, places)
    gap = [rule.scores(read).min(axis=1) for rule in (before.rule, after.rule)]
    undecided = np.arange(60, 90)
    moved = [(scores[undecided][kinds[60:] == 0].mean() - scores[undecided][kinds[60:] == 1].mean()) for scores in gap]
    assert moved[1] > moved[0] + 1


def test_decisions_apply_to_the_groups_that_they_name() -> None:
    measures, places, sources, kinds = both()
    against = {n: kinds[n] != 1 for n in range(60)}
    turned = {n: kinds[n] != 0 for n in range(60)}
    colours, pictures = (
        belonging.fit_run(measures, places, sources, PRICE, decisions=decisions).rule.shares()
        for decisions in (against, turned)
    )
    assert colours["colours"] < 0.5 < pictures["colours"]


@pytest.mark.parametrize("good", [True, False])
@pytest.mark.parametrize("groups", [8, 40])
def test_decisions_of_one_kind_only_still_give_a_usable_rule(good: bool, groups: int) -> None:
    made = world(groups)
    found = made.find(decisions=dict.fromkeys(range(groups), good))
    assert np.isfinite(found.threshold) and np.isfinite(found.rule.weights).all() and np.isfinite(found.run).all()
    assert (found.rule.weights >= 0).all()


def test_without_decisions_the_rule_is_unchanged() -> None:
    made = world(30)
    np.testing.assert_array_equal(made.find(decisions={}).rule.weights, made.find().rule.weights)
