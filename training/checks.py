"""Reasons to refuse a training, found before any work is done."""

from __future__ import annotations

from collections.abc import Callable

import torch

from pipeline.errors import BadInput, MissingWeights
from training import checkpoint, dataset, lora, machine
from training.job import Job


def run(job: Job, device: torch.device | None) -> None:
    """Checks for everything that is known to go wrong, before any work is done.

    Args:
        device: None for a training on another machine, of which only its GPU's memory is known.

    Raises:
        BadInput: captions are too long, the folder holds another training, or a setting can't be met; one sentence for
            each fault.
        MissingWeights: the base model is not there, and no other fault was found.
    """
    checks: tuple[Callable[[], object], ...] = (
        *([lambda: machine.check(job.config, device)] if device is not None else []),
        lambda: _patience(job),
        lambda: _evaluation(job),
        lambda: _start(job),
        job.backend.check,
        job.check_references,
        job.check_lengths,
        lambda: checkpoint.load(job),
    )
    faults: list[str] = []
    missing: MissingWeights | None = None
    for check in checks:
        try:
            check()
        except BadInput as fault:
            faults.append(str(fault))
        except MissingWeights as fault:
            missing = fault
            break  # the remaining checks need the weights too
    if faults:
        raise BadInput(" ".join(faults))
    if missing:
        raise missing


def _patience(job: Job) -> None:
    """Makes sure that there are held-out grids for `patience`."""
    if job.config.patience is not None and job.config.best_by == "loss" and not job.data.held_out:
        raise BadInput(
            f"train.patience={job.config.patience} stops by the held-out loss, and the data set has no held-out "
            f"grids; put some into its folder '{dataset.HELD_OUT}', or leave patience out."
        )


def _evaluation(job: Job) -> None:
    """Makes sure that there are captions and a scorer for `evaluate_every`."""
    every = job.config.evaluate_every
    if every is not None and not job.data.held_out:
        raise BadInput(
            f"train.evaluate_every={every} draws the captions of held-out grids, and the data set has none; put some "
            f"into its folder '{dataset.HELD_OUT}', or leave evaluate_every out."
        )
    if every is not None and job.grid_scorer is None:
        raise BadInput(
            f"train.evaluate_every={every} measures by a scorer, and there is none; set one with --scorer, such as "
            "open_clip, or leave evaluate_every out."
        )


def _start(job: Job) -> None:
    """Tries the LoRA to start from, if there is one, on a transformer without weights."""
    if job.config.init:
        lora.attach(job.backend.blank("transformer"), job.backend, job.config)
