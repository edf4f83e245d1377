"""Held-out loss at fixed noise levels with fixed noise, so that trainings, and steps of one, can be compared."""

from __future__ import annotations

import random
from typing import Any

import torch

from pipeline.records import TrainingSample
from training import batches, dataset, random_streams
from training.batches import TrainingExample
from training.job import Job
from training.latents import EncodedDataset
from training.processes import Processes

SIGMAS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Evenly over the path. At 0.9 the composition is decided, at 0.1 the finest detail."""

SEED = 0
"""Seed of the noise and of which panels are given; not the training's, so that different seeds can be compared."""

Losses = dict[tuple[float, int], float]
"""Mean loss by noise level and panel (from 1)."""


@torch.no_grad()
def measure(job: Job, encoded: EncodedDataset, transformer: Any, processes: Processes) -> Losses:
    """The loss on every held-out grid at every noise level, shared among the processes; empty without such grids."""
    device, panels = processes.device, job.shown.size
    sums, counts = torch.zeros(2, len(SIGMAS), panels, dtype=torch.float64)
    todo = [(index, number) for index in range(len(SIGMAS)) for number in range(len(job.data.held_out))]
    for place in processes.own(range(len(todo))):
        index, number = todo[place]
        batch = batches.gather(job, encoded, [_example(job, encoded, number, SIGMAS[index])], device)
        losses = batches.losses(job, transformer, batch)[0].cpu()
        learnt = batch.weights_BP[0].cpu() > 0
        sums[index] += losses * learnt
        counts[index] += learnt
    processes.add_up([sums, counts])
    means = (sums / counts).tolist()
    return {
        (sigma, panel + 1): means[index][panel]
        for index, sigma in enumerate(SIGMAS)
        for panel in range(panels)
        if counts[index, panel]
    }


def mean(losses: Losses) -> float:
    """The mean over all noise levels and panels."""
    return sum(losses.values()) / len(losses)


def given_of(job: Job, sample: TrainingSample) -> tuple[int, ...]:
    """The panels that are given whenever this grid is measured or sampled; drawn once according to the settings."""
    rng = random.Random(random_streams.seed_of(SEED, "held out", sample.id))
    return random_streams.draw_given(job.config, rng, job.shown.size, job.condition)


def _example(job: Job, encoded: EncodedDataset, number: int, sigma: float) -> TrainingExample:
    """A held-out grid with noise and given panels that are the same every time."""
    sample = job.data.held_out[number]
    view = dataset.plain(sample, job.shown)
    rng = random_streams.generator(SEED, "held out", sample.id, sigma)
    posterior = encoded.grids[view]
    return TrainingExample(
        view=view,
        prompt=job.prompt(sample, sample.text),
        given=given_of(job, sample),
        sigma=torch.tensor(sigma),
        latents_CHW=posterior.mean,
        noise_CHW=torch.randn(posterior.mean.shape, generator=rng),
    )
