"""ai-toolkit (ostris): the trainer of the published LoRAs. One YAML, read by its `run.py`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

from pipeline.dataset.samples import MASKS, Config, Dataset
from pipeline.dataset.split import TRAIN
from pipeline.exporters import base

NAME = "ai-toolkit"
FILE = "ai-toolkit.yaml"
STEP = 32
"""The coarsest step of its sizes among the models below (FLUX.1, Qwen-Image, Chroma)."""
MODELS: dict[str, dict[str, Any]] = {
    "flux-1": {"is_flux": True},
    "flux-2": {"arch": "flux2", "quantize_te": True},
    "flux-2-klein": {"arch": "flux2_klein_4b"},
    "qwen-image": {"arch": "qwen_image", "quantize_te": True},
    "z-image": {"arch": "zimage", "quantize_te": True},
    "sd-3.5": {"is_v3": True},
    "hidream-i1": {"arch": "hidream", "quantize_te": True},
    "lumina-2": {"is_lumina2": True},
    "chroma": {"arch": "chroma", "name_or_path": "lodestones/Chroma"},
}
"""What tells it each base, besides the name on the hub and an 8-bit base."""


def write(data: Dataset, folder: Path) -> Config:
    model = MODELS.get(data.task.base)
    process: dict[str, Any] = {
        "type": "sd_trainer",
        "training_folder": "output",
        "device": "cuda:0",
        "network": {"type": "lora", "linear": base.RANK, "linear_alpha": base.RANK},
        "save": {"dtype": "float16", "save_every": base.SAVE_EVERY, "max_step_saves_to_keep": 4},
        "datasets": [_dataset(data)],
        "train": {
            "batch_size": base.BATCH,
            "steps": base.STEPS,
            "train_unet": True,
            "train_text_encoder": False,
            "gradient_checkpointing": True,
            "noise_scheduler": "flowmatch",
            "optimizer": "adamw8bit",
            "lr": base.LEARNING_RATE,
            "ema_config": {"use_ema": True, "ema_decay": 0.99},
            "dtype": "bf16",
        },
        "sample": {
            "sampler": "flowmatch",
            "sample_every": base.SAVE_EVERY,
            "width": data.canvas[0],
            "height": data.canvas[1],
            "prompts": base.prompts(data),
            "seed": 42,
            "guidance_scale": 3.5,
            "sample_steps": 20,
        },
    }
    if model is not None:
        process["model"] = {"name_or_path": base.hub_model(data), "quantize": True, **model}
    config = {
        "job": "extension",
        "config": {"name": data.task.name, "process": [process]},
        "meta": {"name": "[name]", "version": "1.0"},
    }
    notes = base.unknown_base(NAME, data, MODELS) + base.off_step(data, STEP)
    command = f'python run.py "{data.home / FILE}"' if model is not None else ""
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=1000)
    (folder / FILE).write_text(base.comment(notes, command) + text, encoding="utf-8")
    return Config(NAME, (FILE,), command, notes)


def _dataset(data: Dataset) -> dict[str, Any]:
    """Its one size is an area, given as the side of a square; that of the canvas leaves the grids as they are."""
    width, height = data.canvas
    masks = {"mask_path": str(data.home / MASKS[TRAIN])} if data.task.condition else {}
    return {
        "folder_path": str(data.home / TRAIN),
        **masks,
        "caption_ext": "txt",
        "caption_dropout_rate": base.CAPTION_DROPOUT,
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
