"""SimpleTuner: its config and a list of data backends, both JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.dataset.samples import MASKS, Config, Dataset, references_folder
from pipeline.dataset.split import TRAIN
from pipeline.exporters import base
from pipeline.families.base import Recipe

NAME = "SimpleTuner"
FILE, DATA = "simpletuner.json", "simpletuner-data.json"
STEP = 64


def write(data: Dataset, folder: Path) -> Config:
    recipe, model = base.recipe(data), base.terms(__name__, data)
    notes = base.unknown_base(__name__, NAME, data) + base.off_step(data, STEP)
    if data.references < data.most_references:
        notes += (f"Only {data.references} of up to {data.most_references} reference images are used here.",)
    notes += base.seen_often(data) + base.left_out(__name__, data, "samples")
    files.write(folder / DATA, base.as_json(_backends(data)))
    if model is None:
        return Config(NAME, (DATA,), "", notes)
    files.write(folder / FILE, base.as_json(_training(data, recipe, model)))
    return Config(NAME, (FILE, DATA), f"CONFIG_BACKEND=json simpletuner train --env {FILE}", notes)


def _backends(data: Dataset) -> list[dict[str, Any]]:
    sides = [_backend(data, side) for side in data.sides]
    masks = [_masks(data)] if data.task.condition and data.train else []
    references = [_references(data, side, number) for side in data.sides for number in _numbers(data)]
    texts = {"id": "texts", "dataset_type": "text_embeds", "default": True, "type": "local"}
    cache = {"cache_dir": f"{base.BESIDE}/cache/text/{data.task.name}"}
    return [*sides, *masks, *references, {**texts, **cache}]


def _numbers(data: Dataset) -> range:
    """Of the reference images that every sample has: each of its folders must have a picture for each sample."""
    return range(1, data.references + 1)


def _references(data: Dataset, side: str, number: int) -> dict[str, Any]:
    """Those of a panel have its size, those of a grid another; so `loose`, which leaves them their shape."""
    folder = references_folder(side, number)
    layout = data.task.grid_layout
    return {
        "id": folder,
        "dataset_type": "conditioning",
        "conditioning_type": "reference_strict" if layout.size == 1 else "reference_loose",
        "type": "local",
        "instance_data_dir": folder,
        **_size(min(layout.panel_width, layout.panel_height)),
        "repeats": base.repeats(data) - 1 if side == TRAIN else 0,
        "cache_dir_vae": f"{base.BESIDE}/cache/vae/{data.task.name}/{folder}",
    }


def _backend(data: Dataset, side: str) -> dict[str, Any]:
    kind, name = ("image", f"{data.noun}s") if side == TRAIN else ("eval", "held-out")
    paired: dict[str, Any] = {"conditioning_data": "masks"} if data.task.condition and side == TRAIN else {}
    if data.references:
        paired = {"conditioning_data": [references_folder(side, number) for number in _numbers(data)]}
    return {
        "id": name,
        "dataset_type": kind,
        "type": "local",
        **paired,
        "instance_data_dir": side,
        "caption_strategy": "textfile",
        "disable_multiline_split": True,
        **_size(min(data.canvas)),
        "repeats": base.repeats(data) - 1 if side == TRAIN else 0,
        "cache_dir_vae": f"{base.BESIDE}/cache/vae/{data.task.name}/{name}",
    }


def _masks(data: Dataset) -> dict[str, Any]:
    return {
        "id": "masks",
        "dataset_type": "conditioning",
        "conditioning_type": "mask",
        "type": "local",
        "instance_data_dir": MASKS[TRAIN],
        "caption_strategy": "filename",
        **_size(min(data.canvas)),
        "repeats": base.repeats(data) - 1,
        "cache_dir_vae": f"{base.BESIDE}/cache/vae/{data.task.name}/masks",
    }


def _size(shorter: int) -> dict[str, Any]:
    """The size is the shorter side in pixels: a canvas whose sides are multiples of the step stays as it is."""
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
