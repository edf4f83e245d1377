"""Where a training stands, as one file that is written whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from torch import nn

from pipeline.errors import BadInput
from training import lora
from training.job import Job

FILE = "checkpoint.pt"


@dataclass
class State:
    """What goes on from step to step."""

    weights: dict[str, nn.Parameter]
    average: lora.Average
    optimizer: torch.optim.Optimizer
    step: int = 0
    """Steps done."""
    held_out: float | None = None
    """The last held-out loss."""
    best: dict[str, Any] | None = None
    """With `patience`: step, held-out loss and averaged weights of the best validation after a step so far."""
    waited: int = 0
    """Validations since the best."""


def save(job: Job, state: State) -> None:
    """Replaces the checkpoint of a training's folder."""
    part = job.folder / f"{FILE}.part"
    torch.save(
        {
            "step": state.step,
            "weights": {name: weight.detach().cpu() for name, weight in state.weights.items()},
            "average": {name: tensor.cpu() for name, tensor in state.average.tensors.items()},
            "optimizer": state.optimizer.state_dict(),
            "held_out": state.held_out,
            "best": state.best,
            "waited": state.waited,
            "recipe": job.recipe,
        },
        part,
    )
    part.replace(job.folder / FILE)


def load(job: Job) -> dict[str, Any] | None:
    """The checkpoint of a training's folder, None where it has none.

    Raises:
        BadInput: the folder holds another training, or the checkpoint is damaged.
    """
    path = job.folder / FILE
    if not path.exists():
        return None
    try:
        with ZipFile(path) as parts:
            if parts.testzip():  # torch reads tensors that were written over without a word
                raise BadZipFile
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        was = state["recipe"]
    except Exception as error:  # torch has an error of another kind for every place where such a file can be cut
        raise BadInput(
            f"{path} is damaged and can't be read; remove it to begin anew, or begin in another folder (--into) with "
            f"train.init as the newest file of {job.folder / 'steps'}."
        ) from error
    now = job.recipe
    if other := [key for key in was | now if was.get(key) != now.get(key)]:
        told = ", ".join(f"{key} {was.get(key)} -> {now.get(key)}" for key in other)
        raise BadInput(
            f"{job.folder} holds another training ({told}); give this one a folder of its own with --into, or remove "
            f"{job.folder}."
        )
    return state
