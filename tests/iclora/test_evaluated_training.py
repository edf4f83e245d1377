"""A training on a run's data set is scored on its way by the run's own scorer."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

import iclora
from pipeline import pixels
from pipeline.errors import BadInput
from pipeline.records import TrainingSample
from training.job import Job
from training.monitoring import journal, preview

SETTINGS = {
    "train.scales": [0.5],
    "train.smallest_panel": 48,
    "train.steps": 2,
    "train.samples": 0,
    "train.sample_steps": 1,
    "train.evaluate_every": 1,
}


def test_a_training_scores_what_it_draws_by_the_runs_own_scorer(
    evaluable: Path, tiny_flux: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model draws blank grids at first, then one picture across all panels, and then the real ones."""
    drawn = iter(["blank", "malformed", "real"])

    def draw(
        job: Job, _: object, __: object, ___: object, samples: Sequence[tuple[TrainingSample, object]]
    ) -> list[Image.Image]:
        kind = next(drawn)
        grids = [pixels.open_image(Path(sample.path)).resize(job.shown.canvas) for sample, _ in samples]
        if kind == "blank":
            return [Image.new("RGB", grid.size) for grid in grids]
        first = job.shown.boxes[0]
        return grids if kind == "real" else [grid.crop(first).resize(grid.size) for grid in grids]

    monkeypatch.setattr(preview, "draw", draw)
    with iclora.open_run("storyboard", folder=shutil.copytree(evaluable, tmp_path / "run")) as run:
        outcome = iclora.train(run, settings=SETTINGS | {"train.model": str(tiny_flux)})
    found = journal.read_evaluation(outcome.file.parent)
    assert list(found["step"]) == [0, 1, 2]
    blank, whole, real = (row for _, row in found.iterrows())
    assert blank["score"] == 0 and blank["copies"] == 1
    assert whole["score"] == 0 and whole["malformed"] == 1
    assert 0.5 < real["score"] < 1.5 and real["copies"] == real["malformed"] == 0
    assert found[["low", "high"]].isna().all(axis=None)  # one prompt


def test_without_a_scorer_nothing_is_trained(evaluable: Path, tiny_flux: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(evaluable, tmp_path / "run")
    with iclora.open_run("storyboard", folder=folder, scorer="none") as run:
        run.advance(start="filter")
        training = iclora.open_training(run, settings=SETTINGS | {"train.model": str(tiny_flux)})
    with pytest.raises(BadInput, match=r"^train\.evaluate_every=1 measures by a scorer, and there is none"):
        training.check()
