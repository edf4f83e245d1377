"""A LoRA handed over to other people and programs, and sent to the hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from iclora.run import Run
from pipeline.dataset import hub
from pipeline.errors import BadInput
from pipeline.wording import command
from training.config import Dtype
from training.handover import card, folder
from training.handover.folder import DTYPES, Handover, Options
from training.job import Job

if TYPE_CHECKING:
    from training.loop import Outcome

FOLDER = "handover"
"""Beside the LoRA."""
UPLOADED = (folder.CARD, "*.safetensors", "*.json", folder.SCRIPT, f"{card.GALLERY}/*.png")


def hand_over(  # noqa: PLR0913  (one argument per option)
    lora: str | Path,
    *,
    to: str | Path | None = None,
    model: str | None = None,
    dtype: Dtype = "fp32",
    given: Sequence[int] = (),
    keep_given: bool = False,
    data_set: str = "",
) -> Handover:
    """Writes what it takes to draw with a LoRA elsewhere: file, model card, ComfyUI workflows, diffusers script.

    Args:
        lora: a file that iclora trained. Samples and the evaluation that lie beside it in a run's folder are shown in
            the card.
        to: the folder; by default `handover` beside the file.
        model: the base model, if it is a folder whose place the file doesn't tell.
        dtype: of the weights in the file: fp32, bf16 or fp16.
        given: panels, from 1, that the workflow for given panels takes; by default those that the task names, or the
            first.
        keep_given: whether that workflow pastes them back, unchanged to the pixel.
        data_set: ORG/NAME of the data set on the hub, for a link.

    Returns:
        The folder, its files, and why one is missing, as sentences.

    Raises:
        BadInput: the file was not written by iclora, there is no such panel or number format, or fp16 can't hold the
            weights.
    """
    if dtype not in DTYPES:
        raise BadInput(f"a LoRA is handed over as {', '.join(DTYPES)}, got '{dtype}'.")
    options = Options(dtype, tuple(given), keep_given, data_set)
    lora = Path(lora)
    return folder.write(lora, Path(to) if to is not None else lora.parent / FOLDER, options, model)


def after_training(outcome: Outcome, job: Job) -> Handover:
    """The hand-over that a training ends with."""
    model = str(job.backend.folder) if job.backend.folder else None
    return folder.write(outcome.file, job.folder / FOLDER, Options(), model)


def push_lora(run: Run, repo: str, *, public: bool = False) -> str:
    """Sends the hand-over of a run's LoRA to the Hugging Face hub as a model, and gives its address there.

    Args:
        repo: ORG/NAME.
        public: visible to everybody; else private.

    Raises:
        BadInput: HF_TOKEN is not set, the run's LoRA has not been handed over, or the hub refuses it.
    """
    home = run.lora.parent / FOLDER
    if not (home / folder.CARD).is_file():
        raise BadInput(
            f"there is no hand-over in {home}; write one with '{command(['iclora', 'handover', str(run.lora)])}'."
            if run.lora.exists()
            else f"{run.folder} has no LoRA; train one with '{run.command('train')}'."
        )
    return hub.upload(home, repo, "model", UPLOADED, f"{run.task.name}, by iclora", public=public)
