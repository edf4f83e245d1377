"""What a training leaves: a LoRA for every save, in the end the one that counts with its raw twin, and the figures."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

from pipeline.errors import BadInput
from training import checkpoint, lora
from training.backends.base import Backend
from training.checkpoint import State
from training.config import MINIATURE, MINIATURE_NAME, Config
from training.job import Job
from training.monitoring import figures, preview

LOSSES = "loss.png"


def file_of(job: Job) -> Path:
    """Where the LoRA goes."""
    return job.folder / f"{job.task.name}.safetensors"


def _raw_file_of(job: Job) -> Path:
    return job.folder / f"{job.task.name}-raw.safetensors"


def save(job: Job, state: State) -> None:
    """The averaged LoRA of this step beside those of earlier ones, then the checkpoint.

    In this order: a kill between them leaves a file that is written again, not a step without its file.
    """
    home = job.folder / "steps"
    home.mkdir(exist_ok=True)
    _write(job, home / f"{job.task.name}-{state.step:06d}.safetensors", state.average.tensors, state.step)
    checkpoint.save(job, state)


def counting(config: Config, step: int, best: dict[str, Any] | None) -> int:
    """The step whose weights count in the end: with `patience` that of the best validation, else the last."""
    return best["step"] if best and config.patience is not None else step  # it may have been left out since


def are_written(job: Job, step: int, of_step: int) -> bool:
    """Whether both files are there as this training leaves them at a step: they may be those of before it was to take
    more steps, or of another one in the same folder."""
    return _has(file_of(job), job, of_step) and _has(_raw_file_of(job), job, step)


def _has(file: Path, job: Job, step: int) -> bool:
    try:
        card = lora.read_card(file)
    except BadInput:  # not there, or damaged
        return False
    return card.step == step and card.recipe == job.recipe


def finish(job: Job, state: State) -> None:
    """The figures, the LoRA itself, and last its raw twin: where that is there, all is."""
    tensors, step = state.average.tensors, counting(job.config, state.step, state.best)
    if state.best and step == state.best["step"]:
        tensors = state.best["average"]
    if job.prompted:
        preview.write_strip(job)
    figures.draw_losses(job.folder, job.folder / LOSSES)
    _write(job, file_of(job), tensors, step)
    _write(job, _raw_file_of(job), state.weights, state.step, averaged=False)


def base_name(backend: Backend) -> str:
    """What a LoRA's file calls its base: its name on the hub, the miniature's, or a folder's own without its path."""
    if backend.folder is None:
        return backend.model
    return MINIATURE_NAME if backend.folder == MINIATURE else backend.folder.name


def _write(job: Job, file: Path, weights: Any, step: int, *, averaged: bool = True) -> None:
    config, backend = job.config, job.backend
    card = lora.Card(
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
        recipe=job.recipe,
    )
    lora.write(file, weights, config.alpha / config.rank, card)
