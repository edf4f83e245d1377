"""SimpleTuner: its config and a list of data backends, both JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.dataset.samples import MASKS, Config, Dataset
from pipeline.dataset.split import HELD_OUT, TRAIN
from pipeline.exporters import base
from pipeline.families.base import Recipe

NAME = "SimpleTuner"
FILE, DATA = "simpletuner.json", "simpletuner-data.json"
STEP = 64
SIDES = {TRAIN: "grids", HELD_OUT: "held-out"}


def write(data: Dataset, folder: Path) -> Config:
    recipe, model = base.recipe(data), base.terms(__name__, data)
    notes = base.unknown_base(__name__, NAME, data) + base.off_step(data, STEP)
    notes += base.seen_often(data) + base.left_out(data, "samples")
    files.write(folder / DATA, base.as_json(_backends(data)))
    if model is None:
        return Config(NAME, (DATA,), "", notes)
    files.write(folder / FILE, base.as_json(_training(data, recipe, model)))
    return Config(NAME, (FILE, DATA), f"CONFIG_BACKEND=json simpletuner train --env {FILE}", notes)


def _backends(data: Dataset) -> list[dict[str, Any]]:
    sides = [_backend(data, side) for side in data.sides]
    masks = [_masks(data)] if data.task.condition and data.train else []
    texts = {"id": "texts", "dataset_type": "text_embeds", "default": True, "type": "local"}
    return [*sides, *masks, {**texts, "cache_dir": f"{base.BESIDE}/cache/text/{data.task.name}"}]


def _backend(data: Dataset, side: str) -> dict[str, Any]:
    kind = "image" if side == TRAIN else "eval"
    masks = {"conditioning_data": "masks"} if data.task.condition and side == TRAIN else {}
    return {
        "id": SIDES[side],
        "dataset_type": kind,
        "type": "local",
        **masks,
        "instance_data_dir": side,
        "caption_strategy": "textfile",
        "disable_multiline_split": True,
        **_size(data),
        "repeats": base.repeats(data) - 1 if side == TRAIN else 0,
        "cache_dir_vae": f"{base.BESIDE}/cache/vae/{data.task.name}/{SIDES[side]}",
    }


def _masks(data: Dataset) -> dict[str, Any]:
    return {
        "id": "masks",
        "dataset_type": "conditioning",
        "conditioning_type": "mask",
        "type": "local",
        "instance_data_dir": MASKS[TRAIN],
        "caption_strategy": "filename",
        **_size(data),
        "repeats": base.repeats(data) - 1,
        "cache_dir_vae": f"{base.BESIDE}/cache/vae/{data.task.name}/masks",
    }


def _size(data: Dataset) -> dict[str, Any]:
    """The size is the shorter side in pixels: a canvas whose sides are multiples of the step stays as it is."""
    shorter = min(data.canvas)
    return {
        "crop": False,
        "crop_aspect": "preserve",
        "resolution": shorter,
        "resolution_type": "pixel",
        "minimum_image_size": shorter,
        "metadata_backend": "discovery",
    }


def _training(data: Dataset, recipe: Recipe, model: Mapping[str, Any]) -> dict[str, Any]:
    width, height = data.canvas
    evaluation = {"eval_steps_interval": recipe.validate_every} if data.held_out else {}
    return {
        **model,
        "model_type": "lora",
        "lora_type": "standard",
        "lora_rank": recipe.rank,
        "lora_alpha": base.number(recipe.alpha),
        "base_model_precision": "int8-quanto",
        "data_backend_config": DATA,
        "output_dir": f"{base.BESIDE}/output/{data.task.name}",
        "aspect_bucket_rounding": 2,
        "aspect_bucket_alignment": STEP,
        "disable_bucket_pruning": True,
        "train_batch_size": recipe.batch,
        "max_train_steps": recipe.steps,
        "num_train_epochs": 0,
        "checkpoint_step_interval": recipe.save_every,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler": base.schedule(recipe),
        "lr_warmup_steps": recipe.warmup,
        "max_grad_norm": recipe.clip,
        "optimizer": "adamw_bf16",
        "mixed_precision": "bf16",
        "gradient_checkpointing": True,
        "use_ema": recipe.ema > 0,
        "ema_decay": recipe.ema,
        "caption_dropout_probability": recipe.caption_dropout,
        "seed": recipe.seed,
        "report_to": "none",
        **evaluation,
        "validation_step_interval": recipe.sample_every,
        "validation_prompt": next(iter(base.prompts(data, 1)), data.task.prefix),
        "validation_resolution": f"{width}x{height}",
        "validation_guidance": recipe.guidance,
        "validation_num_inference_steps": recipe.sample_steps,
    }
