"""SimpleTuner: its config and a list of data backends, both JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.dataset.samples import MASKS, Config, Dataset
from pipeline.dataset.split import HELD_OUT, TRAIN
from pipeline.exporters import base

NAME = "SimpleTuner"
FILE, DATA = "simpletuner.json", "simpletuner-data.json"
STEP = 64
SIDES = {TRAIN: "grids", HELD_OUT: "held-out"}
MODELS: dict[str, dict[str, str]] = {
    "flux-1": {"model_family": "flux", "model_flavour": "dev"},
    "flux-2": {"model_family": "flux2", "model_flavour": "dev"},
    "flux-2-klein": {"model_family": "flux2", "model_flavour": "klein-4b"},
    "qwen-image": {"model_family": "qwen_image", "model_flavour": "v1.0"},
    "z-image": {"model_family": "z_image", "model_flavour": "base"},
    "sd-3.5": {"model_family": "sd3", "model_flavour": "large"},
    "hidream-i1": {"model_family": "hidream", "model_flavour": "full"},
    "lumina-2": {"model_family": "lumina2"},
    "sana": {"model_family": "sana", "model_flavour": "sana1.0-1.6b-1024"},
    "chroma": {"model_family": "chroma", "model_flavour": "hd"},
    "auraflow": {"model_family": "auraflow", "model_flavour": "v0.1"},
}


def write(data: Dataset, folder: Path) -> Config:
    model = MODELS.get(data.task.base)
    notes = base.unknown_base(NAME, data, MODELS) + base.off_step(data, STEP)
    (folder / DATA).write_text(base.as_json(_backends(data)), encoding="utf-8")
    if model is None:
        return Config(NAME, (DATA,), "", notes)
    (folder / FILE).write_text(base.as_json(_training(data, model)), encoding="utf-8")
    path = (data.home / FILE).with_suffix("")
    return Config(NAME, (FILE, DATA), f'CONFIG_BACKEND=json CONFIG_PATH="{path}" simpletuner train', notes)


def _backends(data: Dataset) -> list[dict[str, Any]]:
    sides = [_backend(data, side) for side in data.sides]
    masks = [_masks(data)] if data.task.condition and data.train else []
    texts = {"id": "texts", "dataset_type": "text_embeds", "default": True, "type": "local"}
    return [*sides, *masks, {**texts, "cache_dir": f"cache/text/{data.task.name}"}]


def _backend(data: Dataset, side: str) -> dict[str, Any]:
    kind = "image" if side == TRAIN else "eval"
    masks = {"conditioning_data": "masks"} if data.task.condition and side == TRAIN else {}
    return {
        "id": SIDES[side],
        "dataset_type": kind,
        "type": "local",
        **masks,
        "instance_data_dir": str(data.home / side),
        "caption_strategy": "textfile",
        "disable_multiline_split": True,
        **_size(data),
        "cache_dir_vae": f"cache/vae/{data.task.name}/{SIDES[side]}",
    }


def _masks(data: Dataset) -> dict[str, Any]:
    return {
        "id": "masks",
        "dataset_type": "conditioning",
        "conditioning_type": "mask",
        "type": "local",
        "instance_data_dir": str(data.home / MASKS[TRAIN]),
        "caption_strategy": "filename",
        **_size(data),
        "cache_dir_vae": f"cache/vae/{data.task.name}/masks",
    }


def _size(data: Dataset) -> dict[str, Any]:
    """The shorter side as the size of pixels: the canvas comes out of it as it went in, where it is made of steps."""
    shorter = min(data.canvas)
    return {
        "crop": False,
        "crop_aspect": "preserve",
        "resolution": shorter,
        "resolution_type": "pixel",
        "minimum_image_size": shorter,
        "metadata_backend": "discovery",
        "repeats": 0,
    }


def _training(data: Dataset, model: dict[str, str]) -> dict[str, Any]:
    width, height = data.canvas
    evaluation = {"eval_steps_interval": base.SAVE_EVERY} if data.held_out else {}
    return {
        **model,
        "model_type": "lora",
        "lora_type": "standard",
        "lora_rank": base.RANK,
        "lora_alpha": base.RANK,
        "base_model_precision": "int8-quanto",
        "data_backend_config": str(data.home / DATA),
        "output_dir": f"output/{data.task.name}",
        "aspect_bucket_rounding": 2,
        "aspect_bucket_alignment": STEP,
        "disable_bucket_pruning": True,
        "train_batch_size": base.BATCH,
        "max_train_steps": base.STEPS,
        "num_train_epochs": 0,
        "checkpoint_step_interval": base.SAVE_EVERY,
        "learning_rate": base.LEARNING_RATE,
        "lr_scheduler": "constant",
        "optimizer": "adamw_bf16",
        "mixed_precision": "bf16",
        "gradient_checkpointing": True,
        "use_ema": True,
        "ema_decay": 0.99,
        "caption_dropout_probability": base.CAPTION_DROPOUT,
        "seed": 42,
        "report_to": "none",
        **evaluation,
        "validation_step_interval": base.SAVE_EVERY,
        "validation_prompt": next(iter(base.prompts(data)), data.task.prefix),
        "validation_resolution": f"{width}x{height}",
        "validation_guidance": 3.5,
        "validation_num_inference_steps": 20,
    }
