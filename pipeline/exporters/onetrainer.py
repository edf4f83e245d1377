"""OneTrainer: a config and a list of concepts, both JSON; where there are masks, a folder with both, side by side."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.dataset.samples import Config, Dataset
from pipeline.dataset.split import HELD_OUT, TRAIN
from pipeline.exporters import base
from pipeline.families.base import Recipe

NAME = "OneTrainer"
FILE, CONCEPTS = "onetrainer.json", "onetrainer-concepts.json"
# "train" in a path would be taken for the training side by `datasets`.
FOLDERS = {TRAIN: "with-masks/grids", HELD_OUT: "with-masks/held-out"}
STEP = 64
"""The coarsest step of its sizes; most of its models have it."""
VERSION = 11
"""Version of its config's format; a config without one is taken for the oldest and migrated."""
EIGHT_BIT = {"transformer": {"train": True, "weight_dtype": "FLOAT_8"}}
LACKING = ("caption_dropout", "sample_every", "samples", "sample_steps", "guidance")
"""Settings of the recipe that it does not have (it drops captions for each text encoder on its own), or that would need
a file of prompts."""
OFF = (
    *("enable_crop_jitter", "enable_random_flip", "enable_fixed_flip", "enable_random_rotate", "enable_fixed_rotate"),
    *("enable_random_brightness", "enable_random_contrast", "enable_random_saturation", "enable_random_hue"),
    *("enable_random_circular_mask_shrink", "enable_random_mask_rotate_crop"),
)
"""What may crop, rotate or recolour a grid; crop jitter is on unless it is turned off."""


def write(data: Dataset, folder: Path) -> Config:
    if lacking := base.no_references(data, NAME):
        return Config(NAME, (), "", lacking)
    recipe, model, link = base.recipe(data), base.terms(__name__, data), base.link(data)
    notes = base.unknown_base(__name__, NAME, data) + base.off_step(data, STEP)
    notes += base.seen_often(data) + base.left_out(__name__, data, *LACKING)
    files.write(folder / CONCEPTS, base.as_json(_concepts(data, recipe, link)))
    if data.task.condition:
        _copy(data, folder)
        notes += ("It wants masks beside the pictures, so with-masks/ holds both once more.",)
    if model is None:
        return Config(NAME, (CONCEPTS,), "", notes)
    notes += (base.linked(data, NAME),)
    files.write(folder / FILE, base.as_json(_training(data, recipe, model, link)))
    command = base.by_link(data, "python scripts/train.py --config-path", FILE)
    return Config(NAME, (FILE, CONCEPTS), command, notes)


def _copy(data: Dataset, folder: Path) -> None:
    """Grids, captions and masks in the folders that the concepts name; what an earlier export copied is replaced."""
    for side in data.sides:
        shutil.rmtree(folder / FOLDERS[side], ignore_errors=True)
        (folder / FOLDERS[side]).mkdir(parents=True)
    for sample in data.samples:
        home = folder / FOLDERS[sample.side]
        shutil.copyfile(folder / sample.file, home / f"{sample.stem}.png")
        shutil.copyfile((folder / sample.file).with_suffix(".txt"), home / f"{sample.stem}.txt")
        shutil.copyfile(folder / sample.mask, home / f"{sample.stem}-masklabel.png")


def _concepts(data: Dataset, recipe: Recipe, link: str) -> list[dict[str, Any]]:
    kinds = {TRAIN: "STANDARD", HELD_OUT: "VALIDATION"}
    return [
        {
            "name": f"{data.task.name} {side}",
            "path": f"{link}/{FOLDERS[side] if data.task.condition else side}",
            "seed": recipe.seed,
            "enabled": True,
            "type": kinds[side],
            "include_subdirectories": False,
            "balancing": float(base.repeats(data) if side == TRAIN else 1),
            "image": dict.fromkeys(OFF, False),
            "text": {
                "prompt_source": "sample",
                "enable_tag_shuffling": False,
                "tag_dropout_enable": False,
                "caps_randomize_enable": False,
            },
        }
        for side in data.sides
    ]


def _training(data: Dataset, recipe: Recipe, model: Mapping[str, Any], link: str) -> dict[str, Any]:
    """A resolution of two numbers is one fixed size. By default it would truncate a caption for T5 after 77 tokens."""
    limit = base.family(data).limit
    lengths = {
        "text_encoder_sequence_length": limit,
        "text_encoder_2_sequence_length": limit,
    }
    return {
        "__version": VERSION,
        "training_method": "LORA",
        **EIGHT_BIT,
        "base_model_name": base.model(__name__, data),
        "concept_file_name": f"{link}/{CONCEPTS}",
        "resolution": f"{data.canvas[0]}x{data.canvas[1]}",
        "aspect_ratio_bucketing": True,
        "latent_caching": True,
        **lengths,
        "validation": bool(data.held_out),
        "validate_after": recipe.validate_every,
        "validate_after_unit": "STEP",
        "save_every": recipe.save_every,
        "save_every_unit": "STEP",
        "masked_training": bool(data.task.condition),
        "unmasked_probability": 0.0,
        "unmasked_weight": 0.0,
        "normalize_masked_area_loss": True,
        "lora_rank": recipe.rank,
        "lora_alpha": recipe.alpha,
        "optimizer": {"optimizer": "ADAMW_8BIT"},
        "learning_rate": recipe.learning_rate,
        "learning_rate_scheduler": recipe.schedule.upper(),
        "learning_rate_warmup_steps": recipe.warmup if recipe.warmup > 1 else 0,  # 1 would be the whole training
        "clip_grad_norm": recipe.clip,
        "batch_size": recipe.batch,
        "epochs": base.epochs(data),
        "ema": "GPU" if recipe.ema else "OFF",
        "ema_decay": recipe.ema,
        "train_dtype": "BFLOAT_16",
        "output_dtype": "BFLOAT_16",
        "timestep_distribution": "LOGIT_NORMAL",
        "output_model_format": "DIFFUSERS_LORA",
        "output_model_destination": f"models/{data.task.name}.safetensors",
        "workspace_dir": f"workspace/{data.task.name}",
        "cache_dir": f"workspace-cache/{data.task.name}",
        **model,
    }
