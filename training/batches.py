"""What a step sees: latents at their noise levels, the velocities to predict, and how much each panel counts.

Shapes: B grids, C latent channels, H and W rows and columns of latents, P panels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.records import Layout
from training import dataset, flow, machine, random_streams
from training.backends.base import Encoded, numbers
from training.dataset import View
from training.job import Job
from training.latents import Posterior


@dataclass(frozen=True)
class EncodedDataset:
    """Everything encoded: captions by their text, grids by how they are seen."""

    texts: Mapping[str, Encoded]
    grids: Mapping[View, Posterior]


@dataclass(frozen=True)
class TrainingExample:
    """One grid at one noise level."""

    view: View
    text: str
    given: tuple[int, ...]
    """Panels (from 0) that stay clean."""
    sigma: Tensor
    latents_CHW: Tensor
    noise_CHW: Tensor


@dataclass(frozen=True)
class Batch:
    """Lessons on one canvas, on the device."""

    noisy_BCHW: Tensor
    target_BCHW: Tensor
    sigma_B: Tensor
    weights_BP: Tensor
    """What each panel's loss counts; 0 for given ones."""
    texts: tuple[Encoded, ...]
    boxes: tuple[flow.Box, ...]
    """Panels in latents."""


def example_at(job: Job, encoded: EncodedDataset, step: int, position: int) -> TrainingExample:
    """What stands at a position of the endless row of samples, in a step."""
    config, layout = job.config, job.layouts[random_streams.scale_at(job.config, step)]
    drawn = random_streams.draw(config, position, len(job.data.train), layout.size, job.condition)
    view = View(job.data.train[drawn.sample], layout, drawn.order)
    chance = random_streams.generator(config.seed, "noise", position)
    return TrainingExample(
        view=view,
        text="" if drawn.dropped else dataset.caption(view, job.task),
        given=drawn.given,
        sigma=flow.draw_sigma(shift(job, layout), chance),
        latents_CHW=encoded.grids[view].draw(chance),
        noise_CHW=torch.randn(encoded.grids[view].mean.shape, generator=chance),
    )


def shift(job: Job, layout: Layout) -> float:
    """By how much the noise levels of a canvas are shifted."""
    return flow.shift_factor(job.backend.config("scheduler"), flow.tokens(layout))


def gather(job: Job, encoded: EncodedDataset, examples: Sequence[TrainingExample], device: torch.device) -> Batch:
    """Lessons as one batch: given panels clean and without weight, everything else noised."""
    layout = examples[0].view.layout
    boxes = flow.latent_boxes(layout.boxes)
    latents = torch.stack([example.latents_CHW for example in examples])
    noise = torch.stack([example.noise_CHW for example in examples])
    sigma = torch.stack([example.sigma for example in examples])
    masks = torch.stack([flow.panel_mask(boxes, example.given, *latents.shape[-2:]) for example in examples])[:, None]
    clean = torch.stack([encoded.grids[example.view].alone for example in examples])
    noisy = torch.lerp(flow.add_noise(latents, noise, sigma), clean, masks)
    weights = torch.tensor([_weights(job, example) for example in examples])
    texts = tuple(encoded.texts[example.text] for example in examples)
    target = flow.velocity(latents, noise)
    return Batch(noisy.to(device), target.to(device), sigma.to(device), weights.to(device), texts, boxes)


def losses(job: Job, transformer: Any, batch: Batch) -> Tensor:
    """What the transformer's prediction costs, by panel: B x P."""
    with machine.autocast(batch.noisy_BCHW.device, numbers(transformer)):
        predicted = job.backend.predict(transformer, batch.noisy_BCHW, batch.sigma_B, batch.texts)
    return flow.panel_losses(predicted, batch.target_BCHW, batch.boxes)


def _weights(job: Job, example: TrainingExample) -> list[float]:
    """By place; a panel's weight goes with its place, not with what stands there."""
    every = job.config.panel_weights or (1.0,) * example.view.layout.size
    return [0.0 if place in example.given else weight for place, weight in enumerate(every)]
