"""The filter: what it rejects, the reasons it gives, and how many bad grids it catches on films never trained on."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench import corrupted
from bench.corrupted import Rates, Truth
from bench.strangers import tied
from iclora.run import Run
from miniature import film
from miniature.world import describe, draw_character, draw_scene
from pipeline import pixels, task
from pipeline.cache import Cache
from pipeline.consistency import similarity
from pipeline.consistency.similarity import Vectors
from pipeline.consistency.thresholds import RULES, Threshold
from pipeline.consistency.verdict import BELONGS, RECURS
from pipeline.engines.base import Facts, Stage
from pipeline.records import Caption, Grid, Rejected, Score, Scores
from pipeline.stages import filter
from pipeline.text import grammar

STORYBOARD = task.load("storyboard")
AXES = np.eye(3)
LIMITS = {
    "text": 0.5,
    "order": 0.02,
    "summary": 0.3,
    "least alike": -0.1,
    "most alike": 0.9,
    "texts alike": 0.95,
    "earlier grid": 0.9,
}
THRESHOLDS = {name: Threshold(LIMITS[name], rule.ceiling, "by hand", 0.8) for name, rule in RULES.items()}


def judged(panels: np.ndarray = AXES, segments: np.ndarray = AXES, **limits: float) -> dict[str, Score]:
    """Scores of one grid whose summary is all of its segments."""
    total = segments.sum(axis=0)
    vectors = Vectors(panels[None], segments[None], total[None] / np.linalg.norm(total))
    values = {name: measured[0] for name, measured in similarity.measure(vectors).items()}
    altered = THRESHOLDS | {name: replace(THRESHOLDS[name], value=limit) for name, limit in limits.items()}
    return {score.name: score for score in filter.judge(values, panels @ segments.T, altered, STORYBOARD)}


# ---- judging one grid


def test_a_grid_that_fits_passes_with_one_score_per_panel_and_one_per_measure() -> None:
    scores = judged()
    assert list(scores) == [
        "text 1",
        "text 2",
        "text 3",
        "order",
        "summary",
        "least alike",
        "most alike",
        "texts alike",
    ]
    assert all(score.passed for score in scores.values())
    assert scores["text 2"] == Score(
        "text 2", 1.0, 0.5, True, "Panel [SCENE-2] fits its text: 1.0000, floor 0.5000.", usual=0.8
    )


def test_a_panel_below_the_floor_fails_with_its_marker_and_score_and_floor() -> None:
    segments = AXES.copy()
    segments[1] = [0, 0.4, np.sqrt(1 - 0.16)]
    failed = [score for score in judged(segments=segments).values() if not score.passed]
    assert [score.name for score in failed] == ["text 2"]
    assert failed[0].reason == "Panel [SCENE-2] does not fit its text: 0.4000, floor 0.5000."


def test_swapped_texts_fail_and_the_better_order_is_named() -> None:
    order = judged(segments=AXES[[1, 0, 2]])["order"]
    assert not order.passed
    assert order.reason == "The texts fit better in the order 2, 1, 3: 0.6667, ceiling 0.0200."


def test_two_similar_panels_may_be_matched_either_way() -> None:
    near = np.array([1, 0.01, 0]) / np.linalg.norm([1, 0.01, 0])
    panels, segments = np.stack([AXES[0], near, AXES[2]]), np.stack([near, AXES[0], AXES[2]])
    assert judged(panels, segments)["order"].passed


@pytest.mark.parametrize(
    ("name", "limit", "reason"),
    [
        ("summary", 1.1, "The panels do not fit the summary: 1.0000, floor 1.1000."),
        ("least alike", 0.1, "The panels include strangers: 0.0000, floor 0.1000."),
        ("most alike", -0.1, "The panels include two copies of one picture: 0.0000, ceiling -0.1000."),
        ("texts alike", -0.1, "The texts of the panels include two that say the same: 0.0000, ceiling -0.1000."),
    ],
)
def test_every_other_measure_reports_its_score_and_threshold_and_fault(name: str, limit: float, reason: str) -> None:
    score = judged(**{name: limit})[name]
    assert (score.passed, score.reason) == (False, reason)


def test_a_missing_text_is_a_matter_for_the_linter_and_not_for_the_filter() -> None:
    segments = AXES.copy()
    segments[1] = np.nan
    assert list(judged(segments=segments)) == ["text 1", "text 3", "least alike", "most alike", "texts alike"]


def test_every_score_has_a_fault_that_explains_the_rejection() -> None:
    assert set(filter.FAULTS) == {*RULES, BELONGS, RECURS}


# ---- on held-out films


@pytest.fixture(scope="module")
def heldout(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[Truth]]:
    return corrupted.build(tmp_path_factory.mktemp("heldout"), films=2)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[Truth]]:
    """Enough grids to measure rates."""
    run, truths = corrupted.build(tmp_path_factory.mktemp("many"), films=4)
    assert len(truths) >= 25
    return run, truths


def filtered(
    run: Run, grids: list[Grid], captions: list[Caption]
) -> tuple[list[Scores], dict[str, Rejected], dict[str, Any]]:
    stage = filter.stage(run.task, grids, run.scorer, run.folder, Cache(run.folder / "cache"))
    results = list(stage.run(captions))
    rejected = {row.id: row for row in results if isinstance(row, Rejected)}
    return [row for row in results if isinstance(row, Scores)], rejected, reported(stage, results)


def reported(stage: Stage[Caption], results: list[Any]) -> dict[str, Any]:
    (facts,) = [row for row in results if isinstance(row, Facts)]
    return stage.facts([]) | dict(facts.found)


def names(row: Scores) -> list[str]:
    return [score.name for score in row.scores]


def true(run: Run, truths: list[Truth]) -> tuple[list[Grid], list[Caption]]:
    return [truth.grid for truth in truths], [truth.caption(run.task) for truth in truths]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "least"),
    [
        ("swapped segments", 0.9),
        ("foreign caption", 0.95),
        ("unrelated panel", 0.9),
        ("duplicated panel", 0.95),
        ("wrong colour", 0.9),
        ("wrong kind", 0.7),
        ("wrong place", 0.8),
        ("wrong action", 0.8),
    ],
)
def test_bad_grids_are_caught(
    many: tuple[Run, list[Truth]], kind: str, least: float, record_property: Callable[[str, object], None]
) -> None:
    """Bounds lie below the rates of `python -m bench.corrupted`: with a handful of grids the rates vary."""
    run, truths = many
    assert run.scorer is not None
    draws = 1 if kind.endswith("panel") else 2  # an image that is drawn again takes time
    rates: Rates = reduce(add, [corrupted.measure(run, truths, run.scorer, kind, seed) for seed in range(draws)])
    record_property("rates", str(rates))
    assert rates.caught >= least * rates.spoilt
    assert rates.false <= 0.08 * rates.good


def test_true_captions_pass_and_every_rejection_gives_its_reason(heldout: tuple[Run, list[Truth]]) -> None:
    run, truths = heldout
    grids, captions = true(run, truths)
    _, captions[0] = corrupted.swapped(truths[0], truths, run, random.Random(0))
    _, rejected, _ = filtered(run, grids, captions)
    assert truths[0].grid.id in rejected
    assert len([row for row in rejected.values() if row.reason != corrupted.STRANGERS]) <= 3
    assert len([row for row in rejected.values() if row.reason == corrupted.STRANGERS]) <= 2
    for row in rejected.values():
        assert set(row.reason.split(" and ")) <= set(filter.FAULTS.values())
        assert "floor" in row.detail or "ceiling" in row.detail


def test_every_caption_gets_its_scores_whether_kept_or_not(heldout: tuple[Run, list[Truth]]) -> None:
    run, truths = heldout
    scored, _, _ = filtered(run, *true(run, truths))
    assert [row.grid for row in scored] == [truth.grid.id for truth in truths]
    assert len(scored[0].scores) == 11  # the first grid has no earlier one
    assert all(len(row.scores) == 12 for row in scored[1:])
    assert all([f"{BELONGS} {panel}" in names(row) for panel in (1, 2, 3)] == [True] * 3 for row in scored)
    assert all(score.usual is not None for row in scored for score in row.scores)


def test_a_grid_with_the_panels_of_an_earlier_one_is_rejected_and_names_it(heldout: tuple[Run, list[Truth]]) -> None:
    run, truths = heldout
    grids, captions = true(run, truths)
    grids.append(replace(grids[3], id="g-again"))
    captions.append(replace(captions[3], grid="g-again"))
    _, rejected, _ = filtered(run, grids, captions)
    assert rejected["g-again"].reason == "seen before"
    assert f"Nearly all panels are also in {grids[3].id}: 1.0000, ceiling 0.9" in rejected["g-again"].detail
    assert grids[3].id not in rejected


def test_if_the_earlier_grid_is_bad_the_later_one_stays(heldout: tuple[Run, list[Truth]]) -> None:
    run, truths = heldout
    grids, captions = true(run, truths)
    grids.append(replace(grids[3], id="g-again"))
    captions.append(replace(captions[3], grid="g-again"))
    _, captions[3] = corrupted.foreign(truths[3], truths, run, random.Random(0))
    _, rejected, _ = filtered(run, grids, captions)
    assert grids[3].id in rejected
    assert "g-again" not in rejected


def test_a_second_run_computes_no_vector_again(
    heldout: tuple[Run, list[Truth]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, truths = heldout
    first = filtered(run, *true(run, truths))

    def refuse(*_: object) -> None:
        raise AssertionError("a vector was computed twice")

    monkeypatch.setattr(run.scorer, "image_vectors", refuse)
    monkeypatch.setattr(run.scorer, "text_vectors", refuse)
    assert filtered(run, *true(run, truths)) == first


def test_the_report_gives_thresholds_and_their_error_rates(heldout: tuple[Run, list[Truth]]) -> None:
    run, truths = heldout
    _, rejected, facts = filtered(run, *true(run, truths))
    assert json.loads(json.dumps(facts)) == facts
    assert facts["calibration"] == "calibrated on the run's scores"
    text = facts["thresholds"]["text"]
    assert text["false rejects"]["rate"] <= 0.03
    assert set(text["false accepts"]) == {similarity.WITHIN, similarity.ACROSS}
    for estimate in text["false accepts"].values():
        assert estimate["low"] <= estimate["rate"] <= estimate["high"] < 0.2
    assert facts["false rejects"]["of"] == len(truths)
    others = [row for row in rejected.values() if row.reason != "strangers"]
    assert abs(facts["false rejects"]["count"] - len(others)) <= 1
    belonging = facts["belonging"]
    assert belonging["groups"] == belonging["strangers that pass"]["of"] == len(truths)
    assert belonging["false rejects"]["count"] >= len([row for row in rejected.values() if "strangers" in row.reason])
    assert belonging["area"]["low"] > 0.9 and belonging["area"]["cleared"]


def test_with_few_grids_only_captions_that_fit_nothing_are_rejected(heldout: tuple[Run, list[Truth]]) -> None:
    run, truths = heldout
    grids, captions = true(run, truths[:4])
    _, captions[0] = corrupted.foreign(truths[0], truths, run, random.Random(0))
    _, rejected, facts = filtered(run, grids, captions)
    assert set(rejected) == {grids[0].id}
    assert facts["calibration"].startswith("fixed defaults for clip scorers: the run has 4 of the 8 grids")


@pytest.mark.usefixtures("drawn_plots")
def test_the_scores_are_plotted_and_a_missing_plot_is_drawn_again(heldout: tuple[Run, list[Truth]]) -> None:
    run, truths = heldout
    stage = filter.stage(run.task, [truth.grid for truth in truths], run.scorer, run.folder, Cache(run.folder))
    filtered(run, *true(run, truths))
    with Image.open(run.folder / "scores.png") as picture:
        assert picture.format == "PNG" and picture.width > 1000
        assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 20
    assert stage.intact()
    (run.folder / "scores.png").unlink()
    assert not stage.intact()


def test_without_a_scorer_few_grids_get_no_scores_and_no_old_plot_stays(
    heldout: tuple[Run, list[Truth]],
) -> None:
    run, truths = heldout
    grids, captions = true(run, truths[:7])
    (run.folder / "scores.png").touch()
    stage = filter.stage(run.task, grids, None, run.folder, Cache(run.folder / "cache"))
    bare = [Scores(c.grid, (), c.text, grid.path) for c, grid in zip(captions, grids, strict=True)]
    results = list(stage.run(captions))
    assert results[:-1] == bare
    assert reported(stage, results) == {"scorer": {"scorer": "none"}}
    assert not (run.folder / "scores.png").exists() and stage.intact()


@pytest.mark.usefixtures("drawn_plots")
def test_without_a_scorer_colours_and_words_decide_what_belongs_together(heldout: tuple[Run, list[Truth]]) -> None:
    run, truths = heldout
    grids, captions = true(run, truths)
    stage = filter.stage(run.task, grids, None, run.folder, Cache(run.folder / "cache"))
    results = list(stage.run(captions))
    scored = [row for row in results if isinstance(row, Scores)]
    assert {score.name for row in scored for score in row.scores} == {f"{BELONGS} {panel}" for panel in (1, 2, 3)}
    assert sum(isinstance(row, Rejected) for row in results) <= 3
    facts = reported(stage, results)
    assert list(facts["belonging"]["counts"]) == ["colours", "people", "words"]
    assert "thresholds" not in facts
    with Image.open(run.folder / "scores.png") as picture:
        assert picture.format == "PNG"


@pytest.mark.slow
@pytest.mark.parametrize("by", ["the scorer", "colours and words"])
def test_strangers_are_caught_even_if_their_captions_describe_them_correctly(
    many: tuple[Run, list[Truth]], by: str
) -> None:
    """Text scores can't: every text fits its panel. Bounds lie below the rates of `python -m bench.strangers`."""
    run, truths = many
    rng = random.Random(2)
    spoilt = rng.sample(range(len(truths)), len(truths) // 4)
    grids, captions = true(run, truths)
    for number in spoilt:
        grids[number], captions[number] = strange(truths[number], truths, run, rng)
    scorer = run.scorer if by == "the scorer" else None
    stage = filter.stage(run.task, grids, scorer, run.folder, Cache(run.folder / "cache"))
    rejected = {row.id: row for row in stage.run(captions) if isinstance(row, Rejected) and "strangers" in row.reason}
    caught = [rejected.get(grids[number].id) for number in spoilt]
    assert sum(row is not None for row in caught) >= len(spoilt) - 1
    assert len(rejected) - sum(row is not None for row in caught) <= 2
    for row in caught:
        assert row is None or ("is a stranger in its grid: -" in row.detail and "colours 0." in row.detail)


def strange(truth: Truth, truths: list[Truth], run: Run, rng: random.Random) -> tuple[Grid, Caption]:
    """Three panels that share neither character nor place, two from other films; the caption describes them all."""
    picture, grid, scenes = pixels.open_image(run.folder / truth.grid.path), truth.grid, [truth.scenes[0]]
    records = [grid.group.records[0]]
    while len(scenes) < 3:
        other, panel = rng.choice(truth.of_other_films(truths)), rng.randrange(3)
        scene = other.scenes[panel]
        if not any(tied(scene, one) for one in scenes):
            shown = pixels.cut(pixels.open_image(run.folder / other.grid.path), grid.layout)[panel]
            picture.paste(shown, grid.layout.boxes[len(scenes)][:2])
            scenes.append(scene)
            records.append(other.grid.group.records[panel])
    path = f"spoilt/{truth.grid.id}-strange.png"
    (run.folder / path).parent.mkdir(exist_ok=True)
    picture.save(run.folder / path, compress_level=1)
    group = replace(grid.group, records=tuple(records))
    return replace(grid, group=group, path=path), truth.caption(run.task, scenes)


# ---- a single grid


def test_a_single_grid_scores_as_in_the_run(heldout: tuple[Run, list[Truth]]) -> None:
    run, truths = heldout
    grids, captions = true(run, truths)
    scored, _, facts = filtered(run, grids, captions)
    alone = filter.score_one(
        run.task, grids[5], captions[5], run.scorer, run.folder, run.store.cache, json.loads(json.dumps(facts))
    )
    of_its_own = [score for score in scored[5].scores if not score.name.startswith((BELONGS, filter.EARLIER))]
    assert [score.name for score in alone] == [score.name for score in of_its_own]
    for one, other in zip(alone, of_its_own, strict=True):
        assert one.value == pytest.approx(other.value, abs=2e-4)
        assert (one.threshold, one.passed, one.usual) == (other.threshold, other.passed, other.usual)


def test_an_edit_is_scored_against_the_thresholds_of_the_run(heldout: tuple[Run, list[Truth]]) -> None:
    run, truths = heldout
    grids, captions = true(run, truths)
    _, _, facts = filtered(run, grids, captions)
    text = grammar.replace_panel(captions[5], 1, "an empty street at night", run.task)
    edited = grammar.edited(captions[5], text, run.task)
    scores = filter.score_one(run.task, grids[5], edited, run.scorer, run.folder, run.store.cache, facts)
    assert not next(score for score in scores if score.name == "text 2").passed
    assert next(score for score in scores if score.name == "text 1").passed


def test_a_single_grid_has_no_scores_if_the_run_has_none(heldout: tuple[Run, list[Truth]]) -> None:
    run, truths = heldout
    (grid,), (caption,) = true(run, truths[:1])
    for scorer, facts in ((None, {"thresholds": {}}), (run.scorer, {"scorer": {"scorer": "none"}})):
        assert filter.score_one(run.task, grid, caption, scorer, run.folder, run.store.cache, facts) == ()


# ---- the command


@pytest.mark.slow
def test_fixed_thresholds_can_be_set_and_remembered_and_unset(
    iclora: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    rng, clip = random.Random(3), Path(film.__file__).parent / "clip"
    for number in range(9):
        who = draw_character(rng)
        for place in range(3):
            scene = draw_scene(rng, who)
            picture = film.picture(scene, tmp_path / "pictures" / f"{number}" / f"{place}.png")
            picture.with_suffix(".txt").write_text(describe(scene), encoding="utf-8")
    source = ("--source", str(tmp_path / "pictures"), "--captioner", "sidecar")
    free = ("--set", "group.floor=0.0", "--set", f"scorer.model=local-dir:{clip}")

    def filtered(*words: str) -> tuple[str, dict[str, Any]]:
        code, out, _ = iclora("filter", "storyboard", *words, "--out", str(tmp_path / "run"))
        report = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
        facts = report["stages"]["filter"]
        assert code == (0 if facts["kept"] else 1)
        return out, facts

    printed, facts = filtered(*source, *free, "--fixed")
    assert "thresholds (fixed defaults for clip scorers, by filter.fixed): text 0.1, order 0.02, " in printed
    assert facts["thresholds"]["text"]["value"] == 0.1
    printed, _ = filtered()
    assert "filter: done" in printed and "by filter.fixed" in printed
    printed, facts = filtered("--calibrated")
    assert "thresholds (calibrated on the run's scores): text 0." in printed
    assert "panels against their texts: false rejects at most " in printed
    assert "segments shuffled within the grid 0 of 27" in printed
    assert facts["thresholds"]["text"]["value"] > 0.3
    printed, facts = filtered("--set", "filter.floor=0.9", *free)
    assert facts["thresholds"]["text"]["found by"] == "set by filter.floor"
    assert (facts["kept"], facts["rejected"]) == (0, {"text": 9})
