"""What a step sees: latents at their noise levels, the velocities to predict, and how much each panel counts.

Shapes: B grids, C latent channels, H and W rows and columns of latents, P panels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from training import dataset, machine, objective, random_streams
from training.backends.base import Encoded, References, dtype_of
from training.dataset import Prompt, View
from training.job import Job
from training.latents import EncodedDataset


@dataclass(frozen=True)
class TrainingExample:
    """One grid at one noise level."""

    view: View
    prompt: Prompt
    given: tuple[int, ...]
    """Panels (from 0) that stay clean."""
    sigma: Tensor
    latents_CHW: Tensor
    noise_CHW: Tensor


@dataclass(frozen=True)
class Batch:
    """Training examples on one canvas, on the device."""

    noisy_BCHW: Tensor
    """As `Backend.with_given` makes it."""
    target_BCHW: Tensor
    sigma_B: Tensor
    weights_BP: Tensor
    """Weight of each panel in the loss; 0 for given ones."""
    texts: tuple[Encoded, ...]
    references: References
    boxes: tuple[objective.Box, ...]
    """Panels in latents."""


def example_at(job: Job, encoded: EncodedDataset, step: int, position: int) -> TrainingExample:
    """The example at a position of the endless sequence of samples, as this step sees it."""
    config, layout = job.config, job.layouts[random_streams.scale_at(job.config, step)]
    drawn = random_streams.draw(config, position, len(job.data.train), layout.size, job.condition)
    view = View(job.data.train[drawn.sample], layout, drawn.order)
    rng = random_streams.generator(config.seed, "noise", position)
    return TrainingExample(
        view=view,
        prompt=job.prompt(view.sample, "" if drawn.dropped else dataset.caption(view, job.task)),
        given=drawn.given,
        sigma=job.backend.draw_sigma(job.backend.tokens(layout.canvas), rng),
        latents_CHW=encoded.grids[view].draw(rng),
        noise_CHW=torch.randn(encoded.grids[view].mean.shape, generator=rng),
    )


def gather(job: Job, encoded: EncodedDataset, examples: Sequence[TrainingExample], device: torch.device) -> Batch:
    """Examples as one batch: given panels clean and without weight, everything else noised."""
    layout = examples[0].view.layout
    boxes = job.backend.latent_boxes(layout.boxes)
    latents = torch.stack([example.latents_CHW for example in examples])
    noise = torch.stack([example.noise_CHW for example in examples])
    sigma = torch.stack([example.sigma for example in examples])
    masks = torch.stack([objective.panel_mask(boxes, example.given, *latents.shape[-2:]) for example in examples])[
        :, None
    ]
    clean = torch.stack([encoded.grids[example.view].alone for example in examples])
    noisy = objective.add_noise(latents, noise, sigma).to(device)
    weights = torch.tensor([_weights(job, example) for example in examples])
    return Batch(
        noisy_BCHW=job.backend.with_given(noisy, clean.to(device), masks.to(device)),
        target_BCHW=objective.velocity(latents, noise).to(device),
        sigma_B=sigma.to(device),
        weights_BP=weights.to(device),
        texts=tuple(encoded.texts[example.prompt] for example in examples),
        references=encoded.references_of([example.view.sample for example in examples], device),
        boxes=boxes,
    )


def losses(job: Job, transformer: Any, batch: Batch) -> Tensor:
    """The losses of the transformer's prediction, by panel: B x P."""
    with machine.autocast(batch.noisy_BCHW.device, dtype_of(transformer)):
        predicted = job.backend.predict(
            transformer, batch.noisy_BCHW, batch.sigma_B, batch.texts, references=batch.references
        )
    return objective.panel_losses(predicted, batch.target_BCHW, batch.boxes)


def _weights(job: Job, example: TrainingExample) -> list[float]:
    """By place: a weight belongs to the place, not to the panel that stands there."""
    every = job.config.panel_weights or (1.0,) * example.view.layout.size
    return [0.0 if place in example.given else weight for place, weight in enumerate(every)]
