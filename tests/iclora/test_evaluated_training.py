"""A training on a run's data set is scored on its way by the run's own scorer."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import tiny
from PIL import Image

import iclora
from pipeline import pixels, weights
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


@pytest.mark.parametrize("several", [[], [{"seen": "clean", "panels": "first", "share": 0.5}]], ids=["joint", "both"])
def test_a_training_scores_what_it_draws_by_the_runs_own_scorer(
    several: list[dict[str, object]],
    evaluable: Path,
    tiny_flux: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
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

    beside_training = list[bool]()

    def device() -> str:
        beside_training.append(weights._GPU_IS_TAKEN.get())
        return "cpu"

    monkeypatch.setattr(preview, "draw", draw)
    monkeypatch.setattr(weights, "device", device)
    with iclora.open_run("storyboard", folder=shutil.copytree(evaluable, tmp_path / "run")) as run:
        settings = SETTINGS | {"train.model": str(tiny_flux), "train.conditions": several}
        outcome = iclora.train(run, settings=settings)
    assert beside_training and all(beside_training)
    found = journal.read_evaluation(outcome.file.parent)
    assert list(found["step"]) == [0, 1, 2]
    blank, whole, real = (row for _, row in found.iterrows())
    assert blank["score"] == 0 and blank["copies"] == 1
    assert whole["score"] == 0 and whole["malformed"] == 1
    assert 0.5 < real["score"] < 1.5 and real["copies"] == real["malformed"] == 0
    assert found[["low", "high"]].isna().all(axis=None)  # one prompt, drawn for each kind of condition


def test_single_panels_are_scored_by_their_texts_and_their_references(
    evaluable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model draws blank panels at first, then what it is shown, another panel, and at last the real one."""
    drawn = iter(["blank", "reference", "another", "real"])

    def draw(
        job: Job, _: object, __: object, ___: object, samples: Sequence[tuple[TrainingSample, object]]
    ) -> list[Image.Image]:
        kind, size = next(drawn), job.shown.canvas
        real = [pixels.open_image(Path(sample.path)).resize(size) for sample, _ in samples]
        if kind == "blank":
            return [Image.new("RGB", size) for _ in samples]
        if kind == "reference":
            return [pixels.open_image(Path(sample.references[0].path)).resize(size) for sample, _ in samples]
        return real if kind == "real" else [*real[1:], real[0]]

    monkeypatch.setattr(preview, "draw", draw)
    model = tiny.flux_2_klein(tmp_path / "klein")
    changed = {"base": "flux-2-klein", "export.use": "panels"}
    with iclora.open_run("storyboard", folder=shutil.copytree(evaluable, tmp_path / "run"), settings=changed) as run:
        run.advance(start="export")
        outcome = iclora.train(run, settings=SETTINGS | {"train.model": str(model), "train.steps": 3})
    told = (outcome.file.parent / "handover/README.md").read_text(encoding="utf-8")
    assert "Draws single panels of 128 x 64 pixels" in told and "Another picture of what image 1 shows. ...\n" in told
    blank, shown, another, real = (row for _, row in journal.read_evaluation(outcome.file.parent).iterrows())
    assert blank["score"] == 0 and blank["malformed"] == 1
    assert shown["score"] == 0 and shown["copies"] == 1
    assert 0.5 < real["kept"] < 1.5 and real["copies"] == 0
    assert another["score"] < real["score"]


def test_without_a_scorer_nothing_is_trained(evaluable: Path, tiny_flux: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(evaluable, tmp_path / "run")
    with iclora.open_run("storyboard", folder=folder, scorer="none") as run:
        run.advance(start="filter")
        training = iclora.open_training(run, settings=SETTINGS | {"train.model": str(tiny_flux)})
    with pytest.raises(BadInput, match=r"^train\.evaluate_every=1 measures by a scorer, and there is none"):
        training.check()
