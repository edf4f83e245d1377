"""diffusion-pipe: a TOML of the training and one of each side of the data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.dataset.samples import MASKS, Config, Dataset, references_folder
from pipeline.dataset.split import HELD_OUT, TRAIN
from pipeline.exporters import base
from pipeline.families.base import Recipe

NAME = "diffusion-pipe"
FILE = "diffusion-pipe.toml"
DATA = {TRAIN: "diffusion-pipe-data.toml", HELD_OUT: "diffusion-pipe-held-out.toml"}
STEP = 32
"""The coarsest step of its sizes."""
LACKING = (
    *("alpha", "schedule", "ema", "caption_dropout", "seed"),
    *("sample_every", "samples", "sample_steps", "guidance"),
)
"""Settings of the recipe that it does not have: its alpha is the rank, and its cosine ends with the last epoch and not
with the last step."""


def write(data: Dataset, folder: Path) -> Config:
    recipe, model = base.recipe(data), base.terms(__name__, data)
    notes = base.unknown_base(__name__, NAME, data) + base.off_step(data, STEP)
    notes += base.only_first(data) + base.reshaped(data)
    notes += base.seen_often(data) + base.left_out(__name__, data, *LACKING)
    notes += ("It warns that metadata.jsonl can't be opened as a picture, and continues.",)
    tables = {side: DATA[side] for side in data.sides}
    for side, file in tables.items():
        files.write(folder / file, base.comment(notes) + base.as_toml(_data(data, side)))
    if model is None:
        return Config(NAME, tuple(tables.values()), "", notes)
    notes += (_where_from(data, model), base.linked(data, NAME))
    command = base.by_link(data, "deepspeed --num_gpus=1 train.py --deepspeed --config", FILE)
    training = base.as_toml(_training(data, recipe, model))
    files.write(folder / FILE, base.comment(notes, command) + training)
    return Config(NAME, (FILE, *tables.values()), command, notes)


def _where_from(data: Dataset, model: Mapping[str, Any]) -> str:
    if "diffusers_path" not in model:
        return f"Put the model's files, as ComfyUI has them, at the paths in [model] of {FILE}, or set the paths."
    fetch = f"hf download {base.model(__name__, data)} --local-dir {model['diffusers_path']}"
    return f"Fetch the model first, in {NAME}'s own folder: {fetch} (or set the path in {FILE})."


def _data(data: Dataset, side: str) -> dict[str, Any]:
    """A size bucket is used as it is, so one of the canvas's size leaves the grids whole.

    Each epoch drops an incomplete batch.
    """
    masks = {"mask_path": f"{base.link(data)}/{MASKS[side]}"} if data.task.condition else {}
    control = {"control_path": f"{base.link(data)}/{references_folder(side, 1)}"} if data.references else {}
    directory = {
        "path": f"{base.link(data)}/{side}",
        **masks,
        **control,
        "num_repeats": base.repeats(data) if side == TRAIN else 1,
    }
    return {"size_buckets": [[*data.canvas, 1]], "shuffle_tags": False, "directory": [directory]}


def _training(data: Dataset, recipe: Recipe, model: Mapping[str, Any]) -> dict[str, Any]:
    held_out = [{"name": "held-out", "config": f"{base.link(data)}/{DATA[HELD_OUT]}"}] if data.held_out else []
    return {
        "output_dir": f"output/{data.task.name}",
        "dataset": f"{base.link(data)}/{DATA[TRAIN]}",
        "eval_datasets": held_out,
        "epochs": base.epochs(data),
        "max_steps": recipe.steps,
        "micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": recipe.batch,
        "pipeline_stages": 1,
        "gradient_clipping": recipe.clip,
        "warmup_steps": recipe.warmup,
        "eval_every_n_steps": recipe.validate_every,
        "eval_micro_batch_size_per_gpu": 1,
        "eval_gradient_accumulation_steps": 1,
        "save_every_n_steps": recipe.save_every,
        "activation_checkpointing": True,
        "save_dtype": "bfloat16",
        "model": model,
        "adapter": {"type": "lora", "rank": recipe.rank, "dtype": "bfloat16"},
        "optimizer": {"type": "adamw_optimi", "lr": recipe.learning_rate, "betas": [0.9, 0.99], "weight_decay": 0.01},
    }
