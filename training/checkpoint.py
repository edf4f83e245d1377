"""The state of a training as one file that is written whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from torch import nn

from pipeline import files
from pipeline.errors import BadInput
from training import conditions, lora
from training.config import Config
from training.job import Job

FILE = "checkpoint.pt"


@dataclass
class State:
    """What changes from step to step."""

    weights: dict[str, nn.Parameter]
    average: lora.Average
    optimizer: torch.optim.Optimizer
    step: int = 0
    """Steps done."""
    held_out: float | None = None
    """The last held-out loss."""
    best: dict[str, Any] | None = None
    """With `patience`: step, held-out loss or score, and averaged weights of the best measurement so far."""
    waited: int = 0
    """Measurements since the best one."""


def save(job: Job, state: State) -> None:
    """Replaces the checkpoint in the training's folder."""
    content = {
        "step": state.step,
        "weights": {name: weight.detach().cpu() for name, weight in state.weights.items()},
        "average": {name: tensor.cpu() for name, tensor in state.average.tensors.items()},
        "optimizer": state.optimizer.state_dict(),
        "held_out": state.held_out,
        "best": state.best,
        "waited": state.waited,
        "recipe": job.recipe,
    }
    # Given a path, torch would tell of a full disk with a RuntimeError about positions.
    with files.replacing(job.folder / FILE) as part, part.open("wb") as file:
        torch.save(content, file)


def load(job: Job) -> dict[str, Any] | None:
    """The checkpoint in the training's folder, None if there is none.

    Raises:
        BadInput: the folder holds another training, or the checkpoint is damaged.
    """
    path = job.folder / FILE
    if not path.exists():
        return None
    try:
        with files.open_regular(path) as file, ZipFile(file) as parts:
            if parts.testzip():  # torch does not notice overwritten tensors
                raise BadZipFile
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        # Settings that an earlier version didn't have were as their defaults are.
        was = Config().recipe | conditions.upgraded(state["recipe"], named=bool(job.task.condition))
    except Exception as error:  # torch raises a different class for every place of the damage
        raise BadInput(
            f"{path} is damaged and can't be read; delete it to start over, or start in another folder (--into) with "
            f"train.init set to the newest file in {job.folder / 'steps'}."
        ) from error
    now = job.recipe
    if changed := [key for key in was | now if was.get(key) != now.get(key)]:
        changes = ", ".join(f"{key} {was.get(key)} -> {now.get(key)}" for key in changed)
        raise BadInput(
            f"{job.folder} holds another training ({changes}); give this one a folder of its own with --into, or "
            f"delete {job.folder}."
        )
    return state
