"""The filter: what it rejects, why it says so, and how much of what is spoilt it catches on films never trained on."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench import corrupted
from pipeline import task
from pipeline.cache import Cache
from pipeline.records import Caption, Rejected, Scores
from pipeline.road import Road
from pipeline.stages import filter
from pipeline.task import FilterSection

STORYBOARD = task.load("storyboard")


def matrix(*rows: list[float]) -> np.ndarray:
    return np.array(rows)


GOOD = matrix([0.9, 0.1, 0.2], [0.1, 0.8, 0.1], [0.2, 0.1, 0.9])


def test_a_grid_whose_texts_fit_passes_with_a_score_a_panel_and_one_for_the_order() -> None:
    scores = filter.judge(GOOD, 0.5, STORYBOARD)
    assert [score.name for score in scores] == ["text 1", "text 2", "text 3", "order"]
    assert all(score.passed for score in scores)
    assert scores[1].value == 0.8


def test_a_panel_under_the_floor_fails_with_its_marker_score_and_floor() -> None:
    scores = filter.judge(GOOD, 0.85, STORYBOARD)
    assert [score.passed for score in scores] == [True, False, True, True]
    assert scores[1].reason == "Panel [SCENE-2] does not fit its text: 0.800, floor 0.850."


def test_exchanged_texts_fail_and_the_better_order_is_named() -> None:
    scores = filter.judge(GOOD[:, [1, 0, 2]], None, STORYBOARD)
    assert not scores[-1].passed
    assert scores[-1].reason.startswith("The texts fit better in the order 2, 1, 3: gain 0.500")


def test_two_like_panels_may_be_matched_either_way() -> None:
    alike = matrix([0.80, 0.81, 0.1], [0.81, 0.80, 0.1], [0.1, 0.1, 0.9])
    assert all(score.passed for score in filter.judge(alike, 0.5, STORYBOARD))


def test_a_missing_text_is_the_linters_matter_not_the_filters() -> None:
    holes = GOOD.copy()
    holes[:, 1] = np.nan
    scores = filter.judge(holes, 0.5, STORYBOARD)
    assert [score.name for score in scores] == ["text 1", "text 3"]


def test_the_floor_is_found_from_the_runs_own_scores() -> None:
    rng = np.random.default_rng(0)
    own = [np.diag(rng.normal(0.8, 0.04, 3)) for _ in range(200)]
    floor = filter.find_floor(filter.Measured(own, rng.normal(0.1, 0.1, 5000)), FilterSection())
    assert floor.value == pytest.approx(0.8 - 3 * 0.04, abs=0.02)
    assert floor.false_rejects is not None
    assert floor.false_rejects < 0.02
    assert floor.false_accepts == 0


def test_a_third_of_bad_captions_hardly_moves_the_floor() -> None:
    rng = np.random.default_rng(1)
    scores = [rng.normal(0.2 if number % 3 == 0 else 0.8, 0.04, 3) for number in range(120)]
    floor = filter.find_floor(filter.Measured([np.diag(row) for row in scores], np.zeros(10)), FilterSection())
    assert floor.value is not None
    assert 0.35 < floor.value < 0.75


def test_few_grids_set_no_floor_and_the_report_says_so() -> None:
    floor = filter.find_floor(filter.Measured([GOOD] * 4, np.zeros(10)), FilterSection())
    assert floor.value is None
    assert "fewer than 8 grids" in floor.how


def test_a_fixed_floor_holds() -> None:
    floor = filter.find_floor(filter.Measured([GOOD] * 2, np.array([0.3, 0.6])), FilterSection(floor=0.5))
    assert (floor.value, floor.how, floor.false_accepts) == (0.5, "fixed by filter.floor", 0.5)


# ---- on held-out films


@pytest.fixture(scope="module")
def heldout(tmp_path_factory: pytest.TempPathFactory) -> tuple[Road, list[corrupted.Truth]]:
    road, truths = corrupted.build(tmp_path_factory.mktemp("heldout"), films=5)
    assert len(truths) >= 25
    return road, truths


@pytest.mark.parametrize(
    ("kind", "least"),
    [
        ("swapped segments", 0.9),
        ("foreign caption", 0.95),
        ("wrong colour", 0.9),
        ("wrong kind", 0.7),
        ("wrong place", 0.8),
        ("wrong action", 0.8),
    ],
)
def test_spoilt_captions_are_caught(
    heldout: tuple[Road, list[corrupted.Truth]], kind: str, least: float, record_property: Callable[[str, object], None]
) -> None:
    """Bounds lie below the rates of `python -m bench.corrupted`: a handful of grids scatters."""
    road, truths = heldout
    assert road.scorer is not None
    rates = [corrupted.measure(road, truths, road.scorer, kind, seed) for seed in range(3)]
    caught = sum(rate.caught for rate in rates) / sum(rate.spoilt for rate in rates)
    false = sum(rate.false for rate in rates) / sum(rate.good for rate in rates)
    record_property("caught", caught)
    record_property("false rejects", false)
    assert caught >= least
    assert false <= 0.08


def test_true_captions_pass_and_every_rejection_says_why(heldout: tuple[Road, list[corrupted.Truth]]) -> None:
    road, truths = heldout
    captions = [truth.caption(road.task) for truth in truths]
    swapped = corrupted.swapped(truths[0], truths, road.task, random.Random(0))
    results = run(road, truths, [swapped, *captions[1:]])
    rejected = [row for row in results if isinstance(row, Rejected)]
    assert truths[0].grid.id in {row.id for row in rejected}
    assert len(rejected) <= 3
    for row in rejected:
        assert set(row.reason.split(" and ")) <= {"text", "order"}
        assert "floor" in row.detail or "limit" in row.detail


def test_every_caption_gets_its_scores_whether_kept_or_not(heldout: tuple[Road, list[corrupted.Truth]]) -> None:
    road, truths = heldout
    results = run(road, truths, [truth.caption(road.task) for truth in truths])
    scored = [row for row in results if isinstance(row, Scores)]
    assert [row.grid for row in scored] == [truth.grid.id for truth in truths]
    assert all(len(row.scores) == 4 for row in scored)


def test_a_second_run_computes_no_vector_again(
    heldout: tuple[Road, list[corrupted.Truth]], monkeypatch: pytest.MonkeyPatch
) -> None:
    road, truths = heldout
    captions = [truth.caption(road.task) for truth in truths]
    first = run(road, truths, captions)

    def refuse(*_: object) -> None:
        raise AssertionError("a vector was computed twice")

    monkeypatch.setattr(road.scorer, "image_vectors", refuse)
    monkeypatch.setattr(road.scorer, "text_vectors", refuse)
    assert run(road, truths, captions) == first


def run(road: Road, truths: list[corrupted.Truth], captions: list[Caption]) -> list[object]:
    grids = [truth.grid for truth in truths]
    stage = filter.stage(road.task, grids, road.scorer, road.folder, Cache(Path(road.folder) / "cache"))
    return list(stage.run(captions))
