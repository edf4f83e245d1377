"""The files of a training: a LoRA per save, at the end the final one with its raw weights beside it, and the plots."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from pipeline.errors import BadInput
from training import checkpoint, lora_file
from training.backends.base import Backend
from training.checkpoint import State
from training.config import MINIATURE, MINIATURE_NAME, Config
from training.handover.header import thumbnail_of
from training.job import Job
from training.monitoring import figures, journal, preview

LOSSES = "loss.png"
STEPS = "steps"
"""Folder of the LoRAs of earlier steps."""
LAST, BEST, ON_THE_WAY = "the last step", "the lowest held-out loss", "saved on the way"
"""Why a file has the weights of its step."""


@dataclass(frozen=True)
class Lowest:
    """The measurement with the lowest held-out loss of a training."""

    step: int
    """0 for the base alone."""
    held_out: float
    file: Path | None
    """The LoRA of that step; None if it was not saved."""


def file_of(job: Job) -> Path:
    """Path of the final LoRA."""
    return job.folder / f"{job.task.name}.safetensors"


def _raw_file_of(job: Job) -> Path:
    return job.folder / f"{job.task.name}-raw.safetensors"


def save(job: Job, state: State) -> None:
    """The averaged LoRA of this step beside those of earlier ones, then the checkpoint.

    In this order, so that a kill in between leaves a file that is written again, not a step without its file.
    """
    file = _file_of_step(job, state.step)
    file.parent.mkdir(exist_ok=True)
    _write(job, file, state.average.tensors, state.step, ON_THE_WAY)
    checkpoint.save(job, state)
    _prune(job)


def _prune(job: Job) -> None:
    """Deletes the LoRAs of all but the newest `keep` steps, and never that of the lowest held-out loss so far."""
    if job.config.keep is None:
        return
    best = lowest(job)
    saved = sorted((job.folder / STEPS).glob(f"{job.task.name}-*.safetensors"))
    for file in saved[: -job.config.keep]:
        if best is None or file != best.file:
            file.unlink()


def _file_of_step(job: Job, step: int) -> Path:
    return job.folder / STEPS / f"{job.task.name}-{step:06d}.safetensors"


def lowest(job: Job) -> Lowest | None:
    """The measurement with the lowest held-out loss so far; None if nothing was held out."""
    found = journal.lowest(job.folder)
    if found is None:
        return None
    file = _file_of_step(job, found[0])
    return Lowest(*found, file if file.exists() else None)


def final_step(config: Config, step: int, best: dict[str, Any] | None) -> int:
    """The step whose weights are the result: with `patience` that of the best validation, otherwise the last."""
    return best["step"] if best and config.patience is not None else step  # patience may have been unset since


def are_written(job: Job, step: int, of_step: int) -> bool:
    """Whether both files are there as this training leaves them at this step. They may be older, from before it was
    extended, or from another training in the same folder."""
    return _has(file_of(job), job, of_step) and _has(_raw_file_of(job), job, step)


def _has(file: Path, job: Job, step: int) -> bool:
    try:
        card = lora_file.find_card(file)
    except BadInput:  # missing or damaged
        return False
    return card is not None and card.step == step and card.recipe == job.recipe


def finish(job: Job, state: State) -> None:
    """The plots, the LoRA itself, and last its raw weights: if those are there, everything is."""
    tensors, step, why = state.average.tensors, final_step(job.config, state.step, state.best), LAST
    if state.best and step == state.best["step"]:
        tensors, why = state.best["average"], BEST
    if job.prompted:
        preview.write_strip(job)
    figures.draw_losses(job.folder, job.folder / LOSSES, step, why)
    _write(job, file_of(job), tensors, step, why)
    _write(job, _raw_file_of(job), state.weights, state.step, LAST, averaged=False)


def base_name(backend: Backend) -> str:
    """The base's name in a LoRA file: its name on the hub, the miniature's, or a folder's without its path."""
    if backend.folder is None:
        return backend.model
    return MINIATURE_NAME if backend.folder == MINIATURE else backend.folder.name


def _write(job: Job, file: Path, weights: Any, step: int, why: str, *, averaged: bool = True) -> None:
    """Writes a LoRA, with the sample of its step as its thumbnail where there is one."""
    config, backend = job.config, job.backend
    card = lora_file.Card(
        iclora=metadata.version("iclora"),
        task=job.task.name,
        layout=job.task.grid_layout,
        scales=config.scales,
        prefix=job.task.prefix,
        markers=job.task.markers,
        condition=job.task.condition,
        family=backend.BASE,
        base=base_name(backend),
        weights=backend.identity("transformer"),
        licence=backend.licence,
        data=job.data.digest,
        grids=len(job.data.train),
        step=step,
        averaged=averaged,
        why=why,
        recipe=job.recipe,
    )
    sample = job.folder / preview.FOLDER / preview.name_of(step, 1)
    thumbnail = thumbnail_of(sample) if averaged and sample.exists() else b""
    lora_file.write(file, weights, config.alpha / config.rank, card, thumbnail=thumbnail)
