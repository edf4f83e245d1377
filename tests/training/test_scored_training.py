"""Grids are scored while a training runs: in its log, its plots and its patience, and a resume changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from PIL import Image
from test_training import CPU, Stopped, assert_same, called_again, result, run

from pipeline.errors import BadInput
from pipeline.records import Layout
from training import checks, lora_file, results
from training.evaluation.grid_scorer import DrawnGrid, Scores
from training.evaluation.statistics import Estimate
from training.job import Job
from training.monitoring import journal, loss_plot
from training.monitoring.journal import Journal

Make = Callable[..., Job]


class Brightness:
    """Scores grids by how bright they are, which every step changes."""

    prepared = False

    def prepare(self) -> None:
        self.prepared = True

    def score(self, grids: Sequence[Sequence[DrawnGrid]], layout: Layout) -> Scores:
        assert self.prepared and len(grids) == 2
        images = [grid.image for drawn in grids for grid in drawn]
        assert all(image.size == layout.canvas for image in images)
        bright = float(np.mean([np.asarray(image).mean() for image in images])) / 255
        return Scores(Estimate(bright, bright - 0.1, bright + 0.1, 0.05), bright, bright, 0.5, 0.0, 0.0)


class Scripted(Brightness):
    """Made-up scores in their order."""

    def __init__(self, scores: Iterator[float]) -> None:
        self.scores = scores

    def score(self, grids: Sequence[Sequence[DrawnGrid]], layout: Layout) -> Scores:
        value = next(self.scores)
        return Scores(Estimate(value, value, value, 0.0), value, value, 0.0, 0.0, 0.0)


class Seen(Brightness):
    """Keeps what it is shown."""

    def score(self, grids: Sequence[Sequence[DrawnGrid]], layout: Layout) -> Scores:
        self.grids = grids
        return super().score(grids, layout)


@pytest.fixture
def scored(make_job: Make) -> Make:
    """`scored("folder", steps=4)` is a training whose grids are scored after every step."""

    def make(folder: str = "training", scorer: Brightness | None = None, **settings: object) -> Job:
        usual = {"evaluate_every": 1, "sample_steps": 1, "learning_rate": 0.05}
        return replace(make_job(folder, **usual | settings), grid_scorer=scorer or Brightness())

    return make


@pytest.mark.usefixtures("drawn_plots")
def test_every_evaluation_is_in_the_log_and_the_plot(scored: Make) -> None:
    job = scored(steps=3, evaluate_every=2)
    run(job)
    table = journal.read_evaluation(job.folder)
    assert list(table["step"]) == [0, 2, 3]  # the base alone, every second, the last
    assert table["score"].nunique() == 3
    assert (table["low"] < table["score"]).all() and (table["copies"] == 0.5).all()
    with Image.open(job.folder / results.LOSSES) as plot:
        assert plot.width > 2000  # four charts


@pytest.mark.slow
def test_an_interrupted_training_scores_the_same_grids(scored: Make) -> None:
    settings = {"steps": 4, "save_every": 2, "patience": 9}
    whole, parts = scored("whole", **settings), scored("parts", **settings)
    run(whole)
    with pytest.raises(Stopped):
        run(parts, stop_before_saving=3)
    run(called_again(replace(parts, grid_scorer=Brightness())))
    assert_same(result(whole), result(parts))
    one, other = ((job.folder / journal.EVALUATION).read_bytes() for job in (whole, parts))
    assert one == other and one.count(b"\n") == 6


def test_grids_are_drawn_and_scored_for_every_kind_of_condition(scored: Make) -> None:
    several = [{"seen": "clean", "panels": "first", "share": 0.5}, {"seen": "noised", "panels": [3], "share": 0.25}]
    job = scored(scorer=(seen := Seen()), steps=1, conditions=several)
    run(job)
    assert [[one.sample for one in drawn] for drawn in seen.grids] == [[sample] * 3 for sample in job.data.held_out]
    for drawn in seen.grids:
        assert [one.given for one in drawn] == [(), (0,), (2,)]  # joint mode first
        joint, first, third = ([np.asarray(one.image.crop(box)) for box in job.shown.boxes] for one in drawn)
        assert all((joint[panel] != other[panel]).any() for other, panel in ((first, 0), (third, 2)))


def test_grids_are_scored_beside_the_reference_images_that_are_learnt(scored: Make, tmp_path: Path) -> None:
    model, shown = tiny.flux_2_klein(tmp_path / "klein"), [{"seen": "reference", "panels": [2], "share": 0.5}]
    settings = {"overrides": ['base="flux-2-klein"'], "model": str(model), "steps": 1}
    run(scored(scorer=(seen := Seen()), conditions=shown, **settings))
    for bare, beside in seen.grids:
        assert bare.given == beside.given == ()  # all panels are drawn
        assert bare.image.tobytes() != beside.image.tobytes()


def test_scoring_changes_no_weight(scored: Make, make_job: Make) -> None:
    run(scored("scored", steps=2))
    run(job := make_job("plain", steps=2, sample_steps=1, learning_rate=0.05))
    assert not (job.folder / journal.EVALUATION).exists()
    one, other = (job.folder.parent / name / "storyboard.safetensors" for name in ("scored", "plain"))
    assert one.read_bytes() == other.read_bytes()


def test_patience_goes_by_the_score_and_hands_over_the_best(scored: Make) -> None:
    job = scored(scorer=Scripted(iter([0.9, 0.3, 0.8, 0.7, 0.6])), steps=20, patience=2, save_every=1)
    outcome = run(job)
    assert (outcome.step, outcome.of_step) == (4, 2)  # the base alone can't be the best
    card = lora_file.find_card(outcome.file)
    assert card is not None and (card.step, card.why) == (2, results.BEST_SCORE)
    saved = lora_file.read_weights(job.folder / "steps/storyboard-000002.safetensors")
    assert all(torch.equal(saved[name], one) for name, one in lora_file.read_weights(outcome.file).items())


def test_patience_that_went_by_the_loss_begins_anew_with_the_score(scored: Make, make_job: Make) -> None:
    run(make_job(steps=2, validate_every=1, patience=5, sample_steps=1, learning_rate=0.05))
    outcome = run(scored(scorer=Scripted(iter([0.5, 0.4, 0.3, 0.2])), steps=20, patience=2, validate_every=1))
    assert (outcome.step, outcome.of_step) == (5, 3)


def test_what_can_t_be_scored_is_refused(scored: Make, make_job: Make, grids: Path) -> None:
    checks.run(scored(), CPU)
    with pytest.raises(BadInput, match=r"^train\.evaluate_every=5 measures by a scorer, and there is none; set one"):
        checks.run(make_job(evaluate_every=5), CPU)
    with pytest.raises(BadInput, match=r"^train\.evaluate_every=1 draws the captions of held-out grids, and the data"):
        checks.run(scored(data=grids / "train", patience=3), CPU)


def test_a_resumed_log_drops_the_scores_of_the_steps_that_are_repeated(tmp_path: Path) -> None:
    found = Scripted(iter([1.0])).score([], Layout(1, 1, 8, 8))

    def opened(step: int) -> Journal:
        return Journal(tmp_path, 1, from_step=step, wandb=False, name="", settings={}, scored=True)

    with opened(0) as log:
        for step in (0, 5, 10):
            log.evaluation(step, found)
    with opened(5):
        assert list(journal.read_evaluation(tmp_path)["step"]) == [0, 5]


@pytest.mark.usefixtures("drawn_plots")
def test_a_single_evaluation_can_be_plotted(tmp_path: Path) -> None:
    pd.DataFrame([[1, 0.5, 0.5, 1e-4, 1.0, 0.1]]).to_csv(
        tmp_path / "log.csv",
        index=False,
        header=["step", "loss", "loss_1", "learning_rate", "gradient_norm", "seconds"],
    )
    (tmp_path / "validation.csv").write_text("step,sigma,panel,loss\n")
    (tmp_path / "evaluation.csv").write_text(
        "step,score,low,high,followed,kept,copies,memorised,malformed\n1,.5,.4,.6,.5,.5,0,0,0\n"
    )
    loss_plot.draw_losses(tmp_path, tmp_path / "losses.png", 1, "the last step")
    with Image.open(tmp_path / "losses.png") as plot:
        assert plot.width > 2000  # four charts
