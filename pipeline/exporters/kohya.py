"""kohya sd-scripts: a TOML of the data and one of the training's arguments."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.dataset.samples import MASKS, Config, Dataset
from pipeline.dataset.split import TRAIN
from pipeline.exporters import base
from pipeline.families.base import Recipe

NAME = "kohya sd-scripts"
DATA, ARGUMENTS = "kohya.toml", "kohya-arguments.toml"
MODELS = f"{base.BESIDE}/models"
LACKING = ("ema", "validate_every", "sample_every", "samples", "sample_steps", "guidance")
"""Settings of the recipe that it does not have, or that would need a file of prompts."""


def write(data: Dataset, folder: Path) -> Config:
    """It reads a model from single files, the same as ComfyUI does."""
    if notes := base.no_references(data, NAME):
        return Config(NAME, (), "", notes)
    recipe, model = base.recipe(data), base.terms(__name__, data, MODELS)
    notes = base.unknown_base(__name__, NAME, data)
    if data.held_out:
        notes += (f"{NAME} has no place for a held-out folder: validation/ is not used by it.",)
    notes += base.seen_often(data) + base.left_out(__name__, data, *LACKING)
    command = ""
    if model is not None:
        command = f'accelerate launch "$TRAINER/{model["script"]}" --config_file {ARGUMENTS}'
        notes += (f"Put the model's files, or a link to them, where the paths in {ARGUMENTS} lead: {MODELS}/.",)
        arguments = base.as_toml(_arguments(data, recipe, model["arguments"]))
        files.write(folder / ARGUMENTS, base.comment(notes, command) + arguments)
    files.write(folder / DATA, base.comment(notes, command) + base.as_toml(_data(data, recipe)))
    return Config(NAME, (DATA, ARGUMENTS) if command else (DATA,), command, notes)


def _data(data: Dataset, recipe: Recipe) -> dict[str, Any]:
    """Without buckets there is one size, the canvas: nothing is scaled or cropped."""
    masks = {"conditioning_data_dir": MASKS[TRAIN]} if data.task.condition else {}
    subset = {
        "image_dir": TRAIN,
        **masks,
        "caption_extension": ".txt",
        "num_repeats": base.repeats(data),
        "caption_dropout_rate": recipe.caption_dropout,
        "shuffle_caption": False,
        "caption_tag_dropout_rate": 0.0,
        "enable_wildcard": False,
        "flip_aug": False,
        "color_aug": False,
        "random_crop": False,
    }
    size = {"resolution": list(data.canvas), "enable_bucket": False, "batch_size": recipe.batch}
    return {"datasets": [{**size, "subsets": [subset]}]}


def _arguments(data: Dataset, recipe: Recipe, model: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **model,
        "dataset_config": DATA,
        "output_dir": f"{base.BESIDE}/output",
        "output_name": data.task.name,
        "save_model_as": "safetensors",
        "save_every_n_steps": recipe.save_every,
        "network_dim": recipe.rank,
        "network_alpha": base.number(recipe.alpha),
        "network_train_unet_only": True,
        "learning_rate": recipe.learning_rate,
        "optimizer_type": "AdamW8bit",
        "lr_scheduler": base.schedule(recipe),
        "lr_warmup_steps": recipe.warmup,
        "max_grad_norm": recipe.clip,
        "seed": recipe.seed,
        "max_train_steps": recipe.steps,
        "mixed_precision": "bf16",
        "gradient_checkpointing": True,
        "sdpa": True,
        "cache_latents": True,
        "masked_loss": bool(data.task.condition),
    }
