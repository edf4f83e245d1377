"""Held-out loss at fixed noise levels with fixed noise, so that trainings, and steps of one, can be compared."""

from __future__ import annotations

import itertools
import random
from typing import Any

import torch

from pipeline.records import TrainingSample
from training import batches, conditions, dataset, random_streams
from training.batches import TrainingExample
from training.conditions import Condition, Given
from training.job import Job
from training.latents import EncodedDataset
from training.monitoring.losses import Losses
from training.processes import Processes

SIGMAS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Evenly over the path. At 0.9 the composition is decided, at 0.1 the finest detail."""

SEED = 0
"""Seed of the noise and of which panels are given; not the training's, so that different seeds can be compared."""


@torch.no_grad()
def measure(job: Job, encoded: EncodedDataset, transformer: Any, processes: Processes) -> Losses:
    """The loss on every held-out grid at every noise level, for every kind of condition that is trained, shared among
    the processes; empty without such grids."""
    device, panels, kinds = processes.device, job.shown.size, job.kinds
    sums, counts = torch.zeros(2, len(kinds), len(SIGMAS), panels, dtype=torch.float64)
    todo = list(itertools.product(range(len(kinds)), range(len(SIGMAS)), job.data.held_out))
    for place in processes.own(range(len(todo))):
        kind, index, sample = todo[place]
        example = _example(job, encoded, sample, kinds[kind], SIGMAS[index])
        batch = batches.gather(job, encoded, [example], device)
        losses = batches.losses(job, transformer, batch)[0].cpu()
        learnt = batch.weights_BP[0].cpu() > 0
        sums[kind, index] += losses * learnt
        counts[kind, index] += learnt
    processes.add_up([sums, counts])
    means = (sums / counts).tolist()
    return {
        (conditions.name_of(kinds[kind]), sigma, panel + 1): means[kind][index][panel]
        for kind in range(len(kinds))
        for index, sigma in enumerate(SIGMAS)
        for panel in range(panels)
        if counts[kind, index, panel]
    }


def given_of(job: Job, sample: TrainingSample, kind: Condition | None) -> Given:
    """What is given whenever this grid is measured or sampled for a kind of condition; drawn once."""
    rng = random.Random(random_streams.seed_of(SEED, "held out", sample.id))
    return conditions.pick(kind, rng, job.shown.size, job.named, job.backend.REFERENCES)


def _example(
    job: Job, encoded: EncodedDataset, sample: TrainingSample, kind: Condition | None, sigma: float
) -> TrainingExample:
    """A held-out grid with noise and given panels that are the same every time."""
    view, given = dataset.plain(sample, job.shown), given_of(job, sample, kind)
    rng = random_streams.generator(SEED, "held out", sample.id, sigma)
    posterior = encoded.grids[view]
    return TrainingExample(
        view=view,
        prompt=job.prompt(sample.text, dataset.references_of(view, given)),
        given=given,
        sigma=torch.tensor(sigma),
        latents_CHW=posterior.mean,
        noise_CHW=torch.randn(posterior.mean.shape, generator=rng),
    )
