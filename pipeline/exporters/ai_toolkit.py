"""ai-toolkit (ostris): the trainer of the published LoRAs. One YAML, read by its `run.py`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

from pipeline import files
from pipeline.dataset.samples import MASKS, Config, Dataset, references_folder
from pipeline.dataset.split import TRAIN
from pipeline.exporters import base
from pipeline.families.base import Recipe

NAME = "ai-toolkit"
FILE = "ai-toolkit.yaml"
STEP = 32
"""The coarsest step of its sizes among the families that it trains (FLUX.1, Qwen-Image, Chroma)."""


def write(data: Dataset, folder: Path) -> Config:
    recipe, model = base.recipe(data), base.terms(__name__, data)
    process: dict[str, Any] = {
        "type": "sd_trainer",
        "training_folder": f"{base.BESIDE}/output",
        "device": "cuda:0",
        "network": {"type": "lora", "linear": recipe.rank, "linear_alpha": base.number(recipe.alpha)},
        "save": {"dtype": "float16", "save_every": recipe.save_every, "max_step_saves_to_keep": 4},
        "datasets": [_dataset(data, recipe)],
        "train": _training(recipe),
        "sample": {
            "sampler": "flowmatch",
            "sample_every": recipe.sample_every,
            "width": data.canvas[0],
            "height": data.canvas[1],
            **_prompts(data, recipe),
            "seed": 42,
            "guidance_scale": recipe.guidance,
            "sample_steps": recipe.sample_steps,
        },
    }
    if model is not None:
        process["model"] = {"name_or_path": base.model(__name__, data), "quantize": True, **model}
    config = {
        "job": "extension",
        "config": {"name": data.task.name, "process": [process]},
        "meta": {"name": "[name]", "version": "1.0"},
    }
    warmup = ("warmup",) if recipe.schedule == "cosine" else ()
    notes = base.unknown_base(__name__, NAME, data) + base.off_step(data, STEP)
    notes += base.seen_often(data) + base.left_out(__name__, data, "validate_every", *warmup)
    command = f'SEED={recipe.seed} python "$TRAINER/run.py" {FILE}' if model is not None else ""
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=1000)
    files.write(folder / FILE, base.comment(notes, command) + text)
    return Config(NAME, (FILE,), command, notes)


def _training(recipe: Recipe) -> dict[str, Any]:
    """Its constant schedule is the default; its cosine has no warmup."""
    name = base.schedule(recipe)
    schedule: dict[str, Any] = {} if name == "constant" else {"lr_scheduler": name}
    if name == "constant_with_warmup":
        schedule |= {"lr_scheduler_params": {"num_warmup_steps": recipe.warmup}}
    return {
        "batch_size": recipe.batch,
        "steps": recipe.steps,
        "train_unet": True,
        "train_text_encoder": False,
        "gradient_checkpointing": True,
        "noise_scheduler": "flowmatch",
        "optimizer": "adamw8bit",
        "lr": recipe.learning_rate,
        **schedule,
        "max_grad_norm": recipe.clip,
        "ema_config": {"use_ema": recipe.ema > 0, "ema_decay": recipe.ema},
        "dtype": "bf16",
    }


def _prompts(data: Dataset, recipe: Recipe) -> dict[str, Any]:
    if not data.most_references:
        return {"prompts": base.prompts(data, recipe.samples)}
    keys = _keys(data)
    samples = [
        {"prompt": sample.text, **dict(zip(keys, sample.references, strict=False))}
        for sample in base.prompted(data, recipe.samples)
    ]
    return {"samples": samples}


def _keys(data: Dataset) -> list[str]:
    """Those of a sample's reference images. Models that take one read `ctrl_img` alone, and stop the training without
    it; to the text encoders of those that take several, it would be one more reference image beside `ctrl_img_1`."""
    references = base.family(data).references
    if references is not None and references.most == 1:
        return ["ctrl_img"]
    return [f"ctrl_img_{number}" for number in range(1, data.most_references + 1)]


def _dataset(data: Dataset, recipe: Recipe) -> dict[str, Any]:
    """Its one size is an area, given as the side of a square; the canvas's own area leaves the pictures as they are."""
    width, height = data.canvas
    masks = {"mask_path": MASKS[TRAIN]} if data.task.condition else {}
    controls = {f"control_path_{one}": references_folder(TRAIN, one) for one in range(1, data.most_references + 1)}
    return {
        "folder_path": TRAIN,
        **masks,
        **controls,
        "num_repeats": base.repeats(data),
        "caption_ext": "txt",
        "caption_dropout_rate": recipe.caption_dropout,
        "token_dropout_rate": 0.0,
        "shuffle_tokens": False,
        "flip_x": False,
        "flip_y": False,
        "random_crop": False,
        "random_scale": False,
        "buckets": True,
        "resolution": [math.isqrt(width * height - 1) + 1],
        "cache_latents_to_disk": True,
    }
