"""What a training would be refused for, found before any work is done."""

from __future__ import annotations

from collections.abc import Callable

import torch

from pipeline.errors import BadInput, MissingWeights
from training import checkpoint, dataset, lora, machine
from training.job import Job


def run(job: Job, device: torch.device) -> None:
    """Asks for everything that can be known to go wrong, before any work is done.

    Raises:
        BadInput: captions are too long, the folder holds another training, or something can't be done that is set; a
            sentence for each.
        MissingWeights: the base model is not there, and nothing else was found.
    """
    asks: tuple[Callable[[], object], ...] = (
        lambda: machine.check(job.config, device),
        lambda: _patience(job),
        lambda: _start(job),
        job.backend.check,
        job.check_lengths,
        lambda: checkpoint.load(job),
    )
    told: list[str] = []
    lacking: MissingWeights | None = None
    for ask in asks:
        try:
            ask()
        except BadInput as fault:
            told.append(str(fault))
        except MissingWeights as fault:
            lacking = fault
            break  # what is asked further down needs them too
    if told:
        raise BadInput(" ".join(told))
    if lacking:
        raise lacking


def _patience(job: Job) -> None:
    """Asks for the held-out grids that `patience` goes by."""
    if job.config.patience is not None and not job.data.held_out:
        raise BadInput(
            f"train.patience={job.config.patience} stops by the held-out loss, and the data set has no held-out "
            f"grids; put some in a folder '{dataset.HELD_OUT}' of it, or leave patience out."
        )


def _start(job: Job) -> None:
    """Puts the LoRA to start from, where there is one, on a transformer without weights."""
    if job.config.init:
        lora.attach(job.backend.blank("transformer"), job.backend.TARGETS, job.config)
