"""ai-toolkit (ostris): the trainer of the published LoRAs. One YAML, read by its `run.py`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

from pipeline.dataset.samples import MASKS, Config, Dataset
from pipeline.dataset.split import TRAIN
from pipeline.exporters import base
from pipeline.families.base import Recipe

NAME = "ai-toolkit"
FILE = "ai-toolkit.yaml"
STEP = 32
"""The coarsest step of its sizes among the families that it trains (FLUX.1, Qwen-Image, Chroma)."""


def write(data: Dataset, folder: Path) -> Config:
    asked, model = base.recipe(data), base.terms(__name__, data)
    process: dict[str, Any] = {
        "type": "sd_trainer",
        "training_folder": f"{base.BESIDE}/output",
        "device": "cuda:0",
        "network": {"type": "lora", "linear": asked.rank, "linear_alpha": base.number(asked.alpha)},
        "save": {"dtype": "float16", "save_every": asked.save_every, "max_step_saves_to_keep": 4},
        "datasets": [_dataset(data, asked)],
        "train": _training(asked),
        "sample": {
            "sampler": "flowmatch",
            "sample_every": asked.sample_every,
            "width": data.canvas[0],
            "height": data.canvas[1],
            "prompts": base.prompts(data, asked.samples),
            "seed": 42,
            "guidance_scale": asked.guidance,
            "sample_steps": asked.sample_steps,
        },
    }
    if model is not None:
        process["model"] = {"name_or_path": base.family(data).model, "quantize": True, **model}
    config = {
        "job": "extension",
        "config": {"name": data.task.name, "process": [process]},
        "meta": {"name": "[name]", "version": "1.0"},
    }
    warmup = ("warmup",) if asked.schedule == "cosine" else ()
    notes = base.unknown_base(__name__, NAME, data) + base.off_step(data, STEP)
    notes += base.left_out(data, "validate_every", *warmup)
    command = f'SEED={asked.seed} python "$TRAINER/run.py" {FILE}' if model is not None else ""
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=1000)
    (folder / FILE).write_text(base.comment(notes, command) + text, encoding="utf-8")
    return Config(NAME, (FILE,), command, notes)


def _training(asked: Recipe) -> dict[str, Any]:
    """Its cosine knows no warmup."""
    schedule: dict[str, Any] = {}
    if (name := base.warmed(asked)) != "constant":
        schedule = {"lr_scheduler": name}
    if name == "constant_with_warmup":
        schedule |= {"lr_scheduler_params": {"num_warmup_steps": asked.warmup}}
    return {
        "batch_size": asked.batch,
        "steps": asked.steps,
        "train_unet": True,
        "train_text_encoder": False,
        "gradient_checkpointing": True,
        "noise_scheduler": "flowmatch",
        "optimizer": "adamw8bit",
        "lr": asked.learning_rate,
        **schedule,
        "max_grad_norm": asked.clip,
        "ema_config": {"use_ema": asked.ema > 0, "ema_decay": asked.ema},
        "dtype": "bf16",
    }


def _dataset(data: Dataset, asked: Recipe) -> dict[str, Any]:
    """Its one size is an area, given as the side of a square; that of the canvas leaves the grids as they are."""
    width, height = data.canvas
    masks = {"mask_path": MASKS[TRAIN]} if data.task.condition else {}
    return {
        "folder_path": TRAIN,
        **masks,
        "caption_ext": "txt",
        "caption_dropout_rate": asked.caption_dropout,
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
