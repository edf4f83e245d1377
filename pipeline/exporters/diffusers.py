"""The example scripts of diffusers (DreamBooth LoRA): a shell script with arguments; they read the data as it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.dataset import parquet
from pipeline.dataset.samples import Config, Dataset
from pipeline.dataset.uses import has_references
from pipeline.exporters import base
from pipeline.families.base import Recipe

NAME = "diffusers example scripts"
FILE = "diffusers.sh"
LACKING = (
    *("ema", "caption_dropout"),
    *("validate_every", "sample_every", "samples", "sample_steps", "guidance"),
)
"""Settings of the recipe that its scripts do not have. Samples would need a caption as an argument."""


def write(data: Dataset, folder: Path) -> Config:
    """Some of its scripts crop a square out of every picture, whatever size they are given; those are not used."""
    recipe, model = base.recipe(data), base.terms(__name__, data) or {}
    notes = base.unmasked(data)
    notes += (model["note"],) if "note" in model else ()
    if square := model.get("square"):
        notes += (f"{square} crops a square out of every grid, so panels would be lost: use another trainer.",)
    else:
        notes += base.unknown_base(__name__, NAME, data)
    notes += base.only_first(data) + base.reshaped(data)
    notes += base.seen_often(data) + base.left_out(__name__, data, *LACKING)
    if "script" not in model:
        files.write(folder / FILE, base.comment(notes))
        return Config(NAME, (FILE,), "", notes)
    notes += ("Leave --cache_latents off: in some of these scripts it pairs captions with the wrong pictures.",)
    script = base.as_shell(notes, f"examples/dreambooth/{model['script']}", *_arguments(data, recipe, model))
    files.write(folder / FILE, script)
    return Config(NAME, (FILE,), f"sh {FILE}", notes)


def _arguments(data: Dataset, recipe: Recipe, model: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """A bucket is height, width. Batches of one are accumulated, since an incomplete batch would be dropped."""
    width, height = data.canvas
    columns = {"image_column": "image", "caption_column": "text"}
    if has_references(data.task):
        columns = {"image_column": parquet.TARGET, "cond_image_column": parquet.CONTROL}
        columns |= {"caption_column": parquet.PROMPT}
    pairs = {
        "pretrained_model_name_or_path": base.model(__name__, data),
        "dataset_name": "$DATASET",
        **columns,
        "instance_prompt": data.task.prefix or data.task.title,
        "output_dir": f"output/{data.task.name}",
        "aspect_ratio_buckets": f"{height},{width}",
        "max_sequence_length": str(base.family(data).limit),
        "rank": str(recipe.rank),
        "lora_alpha": str(base.number(recipe.alpha)),
        "learning_rate": str(recipe.learning_rate),
        "lr_scheduler": base.schedule(recipe),
        "lr_warmup_steps": str(recipe.warmup),
        "max_grad_norm": str(recipe.clip),
        "train_batch_size": "1",
        "gradient_accumulation_steps": str(recipe.batch),
        "max_train_steps": str(recipe.steps),
        "checkpointing_steps": str(recipe.save_every),
        "mixed_precision": "bf16",
        "seed": str(recipe.seed),
    }
    if "guidance_scale" in model:
        pairs["guidance_scale"] = str(model["guidance_scale"])
    flags = ["--use_aspect_ratio_buckets", "--center_crop", "--gradient_checkpointing", "--use_8bit_adam"]
    return pairs, [flag for flag in flags if flag not in model.get("without", ())]
