"""Noise levels of a training: as its family draws and shifts them, or as the settings say."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import pytest
import tiny
import torch

from pipeline.errors import BadInput
from training import batches, loop, objective
from training.job import Job
from training.processes import Processes

Make = Callable[..., Job]
TOKENS = 4_096


def levels(job: Job) -> list[float]:
    rng = torch.Generator().manual_seed(0)
    return [float(batches.draw_sigma(job, TOKENS, rng)) for _ in range(2_000)]


def test_a_family_shifts_unless_the_settings_say_how(make_job: Make) -> None:
    shifts = {asked: batches.shift_of(make_job(shift=asked), TOKENS) for asked in ("auto", "none", 2.5)}
    assert shifts == pytest.approx({"auto": 3.158, "none": 1.0, 2.5: 2.5}, abs=0.001)
    logits = {asked: fmean(torch.logit(torch.tensor(levels(make_job(shift=asked)))).tolist()) for asked in shifts}
    assert logits == pytest.approx({asked: math.log(factor) for asked, factor in shifts.items()}, abs=0.06)


def test_z_image_is_trained_with_less_shift_than_it_is_sampled_with(make_job: Make, tmp_path: Path) -> None:
    job = make_job(model=str(tiny.z_image(tmp_path / "model", length=256)), overrides=['base="z-image"'])
    assert (batches.shift_of(job, TOKENS), job.backend.noise_shift(20, TOKENS).factor) == (2.0, 3.0)
    assert 0.2 < fmean(level < 0.5 for level in levels(job)) < 0.3  # with a shift of 6: 0.04


def test_levels_are_drawn_uniformly_where_that_is_set(make_job: Make) -> None:
    for kind in ("uniform", "weighted"):
        drawn = levels(make_job(timesteps=kind, shift="none"))
        assert [fmean(level < share for level in drawn) for share in (0.1, 0.5, 0.9)] == pytest.approx(
            [0.1, 0.5, 0.9], abs=0.03
        )


def test_weighted_losses_count_more_in_the_middle(make_job: Make) -> None:
    job = make_job(timesteps="weighted")
    encoded = loop.encode(job, Processes(), lambda *_: None)
    examples = [batches.example_at(job, encoded, 0, position) for position in range(4)]
    batch = batches.gather(job, encoded, examples, torch.device("cpu"))
    losses = torch.rand(4, 3)
    plain = objective.grid_loss(losses, batch.weights_BP)
    assert torch.equal(batches.grid_losses(job, losses, batch), plain * objective.bell(batch.sigma_B))
    assert torch.equal(batches.grid_losses(make_job(), losses, batch), plain)


@pytest.mark.parametrize("setting", [{"shift": 0}, {"shift": "lots"}, {"timesteps": "sigmoid"}])
def test_other_ways_are_refused(setting: dict[str, object], make_job: Make) -> None:
    with pytest.raises(BadInput, match=rf"train\.{next(iter(setting))}"):
        make_job(**setting)
