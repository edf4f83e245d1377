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
from training.conditions import Given
from training.dataset import Prompt, View
from training.job import Job
from training.latents import EncodedDataset


@dataclass(frozen=True)
class TrainingExample:
    """One grid at one noise level."""

    view: View
    prompt: Prompt
    given: Given
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
    most = job.backend.REFERENCES
    drawn = random_streams.draw(config, position, len(job.data.train), layout.size, job.named, most)
    view = View(job.data.train[drawn.sample], layout, drawn.order)
    rng = random_streams.generator(config.seed, "noise", position)
    return TrainingExample(
        view=view,
        prompt=job.prompt(
            "" if drawn.dropped else dataset.caption(view, job.task), dataset.references_of(view, drawn.given)
        ),
        given=drawn.given,
        sigma=draw_sigma(job, job.backend.tokens(layout.canvas), rng),
        latents_CHW=encoded.grids[view].draw(rng),
        noise_CHW=torch.randn(encoded.grids[view].mean.shape, generator=rng),
    )


def draw_sigma(job: Job, tokens: int, generator: torch.Generator) -> Tensor:
    """A noise level to train at, on a canvas of so many tokens: as the settings say, or else as the family does."""
    config = job.config
    if config.timesteps == config.shift == "auto":
        return job.backend.draw_sigma(tokens, generator)
    uniform = config.timesteps in {"uniform", "weighted"}
    return objective.draw_sigma(shift_of(job, tokens), generator, uniform=uniform)


def shift_of(job: Job, tokens: int) -> float:
    """The factor by which noise levels are shifted on a canvas of so many tokens."""
    asked = job.config.shift
    if asked == "auto":
        return job.backend.shift(tokens)
    return 1.0 if asked == "none" else asked


def grid_losses(job: Job, losses_BP: Tensor, batch: Batch) -> Tensor:
    """The losses of whole grids: B."""
    losses_B = objective.grid_loss(losses_BP, batch.weights_BP)
    return losses_B * objective.bell(batch.sigma_B) if job.config.timesteps == "weighted" else losses_B


def gather(job: Job, encoded: EncodedDataset, examples: Sequence[TrainingExample], device: torch.device) -> Batch:
    """Examples as one batch: everything is noised but panels that are given clean; none that is given has a weight."""
    layout = examples[0].view.layout
    boxes = job.backend.latent_boxes(layout.boxes)
    latents = torch.stack([example.latents_CHW for example in examples])
    noise = torch.stack([example.noise_CHW for example in examples])
    sigma = torch.stack([example.sigma for example in examples])
    clean_of = [example.given.panels if example.given.seen == "clean" else () for example in examples]
    masks = torch.stack([objective.panel_mask(boxes, panels, *latents.shape[-2:]) for panels in clean_of])[:, None]
    clean = torch.stack([encoded.grids[example.view].alone for example in examples])
    noisy = objective.add_noise(latents, noise, sigma).to(device)
    weights = torch.tensor([_weights(job, example) for example in examples])
    return Batch(
        noisy_BCHW=job.backend.with_given(noisy, clean.to(device), masks.to(device)),
        target_BCHW=objective.velocity(latents, noise).to(device),
        sigma_B=sigma.to(device),
        weights_BP=weights.to(device),
        texts=tuple(encoded.texts[example.prompt] for example in examples),
        references=encoded.latents_of([dataset.references_of(one.view, one.given) for one in examples], device),
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
    return [0.0 if place in example.given.in_canvas else weight for place, weight in enumerate(every)]
