"""Thresholds: calibrated on a run's own scores or fixed, with their error rates."""

import json

import numpy as np
import pytest

from pipeline import task
from pipeline.consistency import thresholds
from pipeline.consistency.similarity import ACROSS, WITHIN, Measures
from pipeline.consistency.thresholds import COPIES, Estimate, Evidence

STORYBOARD = task.load("storyboard")
PAIRS = task.load("sparklers")
NAMES = [name for name in thresholds.RULES if name != "text"]


def measures(text: np.ndarray, **others: np.ndarray) -> Measures:
    """Measures of grids whose texts are in order and whose other scores are all 0.5."""
    grids = len(text)
    given = {name.replace("_", " "): values for name, values in others.items()}
    return {"text": text} | {name: np.full(grids, 0.5) for name in NAMES} | {"order": np.zeros(grids)} | given


def evidence(text: np.ndarray, **others: np.ndarray) -> Evidence:
    """Evidence with controls whose texts all score 0.1 and copies that all score 0.99."""
    wrong = {control: measures(np.full_like(text, 0.1)) for control in (WITHIN, ACROSS)}
    return Evidence(measures(text, **others), wrong, np.full(20, 0.99))


def normal(seed: int, grids: int, size: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.8, 0.04, (grids, size))


# ---- found from the run


def test_a_floor_lies_three_robust_deviations_below_the_median() -> None:
    found = thresholds.calibrate(evidence(normal(0, 200)), STORYBOARD, "clip").thresholds["text"]
    assert found.value == pytest.approx(0.8 - 3 * 0.04, abs=0.01)
    assert found.how == "median 0.798 of the run's scores minus 3 robust deviations of 0.041"
    assert found.usual == pytest.approx(0.8, abs=0.01)


def test_a_third_of_bad_captions_hardly_moves_the_floor() -> None:
    text = normal(1, 120)
    text[::3] -= 0.6
    found = thresholds.calibrate(evidence(text), STORYBOARD, "clip").thresholds["text"]
    assert 0.35 < found.value < 0.75


def test_the_ceiling_for_pictures_is_calibrated_on_copies() -> None:
    copies = np.random.default_rng(2).normal(0.96, 0.005, 200)
    found = thresholds.calibrate(
        Evidence(measures(normal(2, 20)), {WITHIN: measures(normal(2, 20))}, copies), STORYBOARD, "clip"
    ).thresholds
    for name in ("most alike", "earlier grid"):
        assert found[name].value == pytest.approx(0.96 - 3 * 0.005, abs=0.003)
        assert found[name].ceiling
        assert found[name].false_accepts[COPIES].count <= 3


def test_in_pairs_only_identical_pictures_or_texts_are_copies() -> None:
    found = thresholds.calibrate(evidence(normal(3, 20, 2)), PAIRS, "clip").thresholds
    assert found["most alike"].value == found["texts alike"].value == thresholds.SAME
    assert found["earlier grid"].value == pytest.approx(0.99)


def test_a_measure_without_values_gets_its_fixed_default() -> None:
    nothing = np.full(20, np.nan)
    found = thresholds.calibrate(evidence(normal(4, 20), summary=nothing), STORYBOARD, "clip").thresholds["summary"]
    assert (found.value, found.usual, found.false_rejects) == (0.1, None, None)


def test_least_alike_is_never_calibrated_on_the_run() -> None:
    """A floor below its median would follow the share of strangers in a run; `belonging` detects those."""
    for values in (np.full(20, 0.9), np.full(20, -0.5), np.linspace(-1, 1, 20)):
        found = thresholds.calibrate(evidence(normal(12, 20), least_alike=values), STORYBOARD, "clip")
        floor = found.thresholds["least alike"]
        assert (floor.value, floor.how, floor.false_accepts) == (-1, "fixed default for clip scorers", {})
        assert floor.false_rejects == Estimate(0, 20)
        assert found.how == "calibrated on the run's scores"
        by_hand = task.load("storyboard", ["filter.related=0.2"])
        floor = thresholds.calibrate(evidence(normal(12, 20), least_alike=values), by_hand, "clip").thresholds[
            "least alike"
        ]
        assert floor.false_rejects == Estimate(int((values < 0.2).sum()), 20)


# ---- fixed


def test_with_few_grids_the_fixed_defaults_apply_and_the_report_says_so() -> None:
    few = Evidence(measures(normal(5, 4)), {}, np.zeros(0))
    found = thresholds.calibrate(few, STORYBOARD, "clip")
    assert found.thresholds["text"].value == 0.1
    assert found.how == "fixed defaults for clip scorers: the run has 4 of the 8 grids that calibration takes"
    assert found.rejected is None and not found.accepted
    (line,) = thresholds.lines(found.facts())
    assert line.startswith("thresholds (fixed defaults for clip scorers: the run has 4 of the 8 grids")


def test_defaults_depend_on_the_kind_of_scorer() -> None:
    few = Evidence(measures(normal(6, 4)), {}, np.zeros(0))
    clip, siglip = (thresholds.calibrate(few, STORYBOARD, kind).thresholds for kind in ("clip", "siglip"))
    for name in ("text", "summary", "order"):
        assert siglip[name].value < clip[name].value


def test_fixed_defaults_can_be_chosen_and_still_have_error_rates() -> None:
    asked = task.load("storyboard", ["filter.fixed=true"])
    found = thresholds.calibrate(evidence(normal(7, 20)), asked, "clip")
    assert found.how == "fixed defaults for clip scorers, by filter.fixed"
    assert found.thresholds["text"].value == 0.1
    assert found.thresholds["text"].false_accepts[WITHIN] == Estimate(60, 60)
    assert found.accepted[WITHIN] == Estimate(20, 20)


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ("floor", "text"),
        ("summary", "summary"),
        ("slack", "order"),
        ("related", "least alike"),
        ("copies", "most alike"),
        ("copies", "earlier grid"),
        ("texts", "texts alike"),
    ],
)
def test_a_threshold_set_by_hand_takes_precedence(setting: str, name: str) -> None:
    asked = task.load("storyboard", [f"filter.{setting}=0.33", "filter.fixed=true"])
    found = thresholds.calibrate(evidence(normal(8, 20)), asked, "clip").thresholds[name]
    assert (found.value, found.how) == (0.33, f"set by filter.{setting}")


# ---- how often they err


def test_a_share_comes_with_its_wilson_interval() -> None:
    """Compared with the closed form, computed by hand: 5 of 100 and 0 of 83 at z = 1.96."""
    assert Estimate(5, 100).interval == pytest.approx((0.0215, 0.1118), abs=1e-4)
    assert Estimate(0, 83).interval == pytest.approx((0.0, 0.0442), abs=1e-4)


def test_false_rejects_and_false_accepts_are_counted_per_control() -> None:
    text = np.full((20, 3), 0.8) + np.linspace(-0.03, 0.03, 20)[:, None]
    text[0, 0] = 0.0
    told = evidence(text)
    told.controls[WITHIN]["text"][:2] = 0.8
    found = thresholds.calibrate(told, STORYBOARD, "clip")
    assert found.thresholds["text"].false_rejects == Estimate(1, 60)
    assert found.thresholds["text"].false_accepts[WITHIN] == Estimate(6, 60)
    assert found.thresholds["text"].false_accepts[ACROSS] == Estimate(0, 60)
    assert found.thresholds["order"].false_accepts.keys() == {WITHIN}
    assert found.rejected == Estimate(1, 20)
    assert found.accepted == {WITHIN: Estimate(2, 20), ACROSS: Estimate(0, 20)}


def test_missing_pairs_are_not_counted() -> None:
    told = evidence(normal(9, 20))
    told.controls[WITHIN]["text"][:5] = np.nan
    found = thresholds.calibrate(told, STORYBOARD, "clip").thresholds["text"]
    assert found.false_accepts[WITHIN].of == 45


def test_the_printed_lines_have_thresholds_rates_and_intervals() -> None:
    first, text, grids = thresholds.lines(thresholds.calibrate(evidence(normal(10, 30)), STORYBOARD, "clip").facts())
    assert first.startswith("thresholds (calibrated on the run's scores): text 0.6")
    assert "segments shuffled within the grid 0 of 90 (0.0 to 4.1 %)" in text
    assert text.startswith("panels against their texts: false rejects at most ")
    assert grids.startswith("whole grids: false rejects at most ")


def test_thresholds_can_be_restored_from_a_report() -> None:
    found = thresholds.calibrate(evidence(normal(11, 30)), STORYBOARD, "clip")
    again = thresholds.from_facts(json.loads(json.dumps(found.facts())))
    assert again.keys() == found.thresholds.keys()
    for name, threshold in again.items():
        was = found.thresholds[name]
        assert (threshold.value, threshold.ceiling, threshold.usual) == (was.value, was.ceiling, was.usual)
    assert thresholds.from_facts({"scorer": {"scorer": "none"}}) == {}
    assert thresholds.lines({"scorer": {"scorer": "none"}}) == []


def test_no_value_on_the_wrong_side_passes() -> None:
    floor, ceiling = (thresholds.Threshold(0.5, up, "by hand") for up in (False, True))
    values = np.array([0.4, 0.5, 0.6])
    assert floor.holds(values).tolist() == [False, True, True]
    assert ceiling.holds(values).tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("score", "ceiling"),
    [("text 12", False), ("order", True), ("summary", False), ("most alike", True), ("belongs 1", False), ("x", False)],
)
def test_a_scores_name_says_whether_it_has_a_ceiling(score: str, ceiling: bool) -> None:
    assert thresholds.is_ceiling(score) == ceiling
