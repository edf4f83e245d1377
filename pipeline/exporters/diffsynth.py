"""DiffSynth-Studio: a table of pictures and prompts (JSON with reference images), and a shell script."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.dataset.samples import Config, Dataset
from pipeline.dataset.uses import has_references
from pipeline.exporters import base
from pipeline.families.base import Recipe

NAME = "DiffSynth-Studio"
FILE, TABLE, TABLE_OF_REFERENCES = "diffsynth.sh", "diffsynth.csv", "diffsynth.json"
REFERENCES = "edit_image"
"""What most of its pipelines call reference images."""
EPOCH = 50
"""Times that an epoch shows every grid, at most; it saves after each."""
LACKING = (
    *("alpha", "schedule", "warmup", "clip", "ema", "caption_dropout", "seed"),
    *("save_every", "validate_every", "sample_every", "samples", "sample_steps", "guidance"),
)
"""Settings of the recipe that its script does not have; it takes the rank for alpha."""


def write(data: Dataset, folder: Path) -> Config:
    recipe, model = base.recipe(data), base.terms(__name__, data)
    column = str((model or {}).get("references", REFERENCES))
    name = TABLE_OF_REFERENCES if has_references(data.task) else TABLE
    files.write(folder / name, _table_with_references(data, column) if has_references(data.task) else _table(data))
    notes = base.unknown_base(__name__, NAME, data) + base.unmasked(data)
    notes += base.reshaped(data) + base.seen_often(data) + base.left_out(__name__, data, *LACKING)
    if model is None:
        files.write(folder / FILE, base.comment(notes))
        return Config(NAME, (FILE, name), "", notes)
    script = base.as_shell(
        notes, f"examples/{model['example']}/model_training/train.py", *_arguments(data, recipe, model)
    )
    files.write(folder / FILE, script)
    return Config(NAME, (FILE, name), f"sh {FILE}", notes)


def _table(data: Dataset) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(("image", "prompt"))
    writer.writerows((sample.file, sample.text) for sample in data.train)
    return buffer.getvalue()


def _table_with_references(data: Dataset, column: str) -> str:
    """A cell of a CSV holds no list, so this is JSON, as in its own examples of training on edits."""
    return base.as_json([{"image": one.file, column: list(one.references), "prompt": one.text} for one in data.train])


def _columns(data: Dataset, model: Mapping[str, Any]) -> dict[str, str]:
    if not has_references(data.task):
        return {"dataset_metadata_path": f"$DATASET/{TABLE}", "data_file_keys": "image"}
    return {
        "dataset_metadata_path": f"$DATASET/{TABLE_OF_REFERENCES}",
        "data_file_keys": f"image,{model.get('references', REFERENCES)}",
        "extra_inputs": model.get("references", REFERENCES),
    }


def _arguments(data: Dataset, recipe: Recipe, model: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Height and width make one size. It has no number of steps: as many epochs of so many repeats take as long."""
    width, height = data.canvas
    times = math.ceil(base.times_seen(data))
    epochs = math.ceil(times / EPOCH)
    pairs = {
        "dataset_base_path": "$DATASET",
        **_columns(data, model),
        "height": str(height),
        "width": str(width),
        "dataset_repeat": str(math.ceil(times / epochs)),
        "model_id_with_origin_paths": ",".join(model["weights"]),
        "learning_rate": str(recipe.learning_rate),
        "gradient_accumulation_steps": str(recipe.batch),
        "num_epochs": str(epochs),
        "remove_prefix_in_ckpt": "pipe.dit.",
        "output_path": f"models/train/{data.task.name}",
        "lora_base_model": "dit",
        "lora_target_modules": model["layers"],
        "lora_rank": str(recipe.rank),
    }
    flags = [*model.get("flags", []), "--use_gradient_checkpointing"]
    return pairs, flags
