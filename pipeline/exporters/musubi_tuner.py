"""musubi-tuner: a TOML of the data, a table of pictures with their reference images, and a shell script.

Its training reads latents and texts that two scripts of its own have encoded before.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.dataset.samples import Config, Dataset, Sample
from pipeline.exporters import base
from pipeline.families.base import Recipe

NAME = "musubi-tuner"
FILE, DATA, TABLE = "musubi-tuner.sh", "musubi-tuner.toml", "musubi-tuner.jsonl"
MODELS = f"{base.BESIDE}/models"
LACKING = ("ema", "caption_dropout", "validate_every", "sample_every", "samples", "sample_steps", "guidance")
"""Settings of the recipe that it does not have, or that would need a file of prompts."""
TRAINER = '"${TRAINER:?set it to the folder of the trainer}"/src/musubi_tuner'


def write(data: Dataset, folder: Path) -> Config:
    """All paths are relative to the data set's folder, where the script starts everything."""
    recipe, model = base.recipe(data), base.terms(__name__, data, MODELS)
    notes = base.unknown_base(__name__, NAME, data) + base.unmasked(data)
    if data.held_out:
        notes += (f"{NAME} has no place for a held-out folder: validation/ is not used by it.",)
    notes += base.seen_often(data) + base.left_out(__name__, data, *LACKING)
    files.write(folder / TABLE, "".join(f"{json.dumps(_entry(one), ensure_ascii=False)}\n" for one in data.train))
    files.write(folder / DATA, base.comment(notes) + base.as_toml(_data(data, recipe)))
    if model is None:
        return Config(NAME, (DATA, TABLE), "", notes)
    notes += (f"Put the model's files, or a link to them, where the paths in {FILE} lead: {MODELS}/.",)
    files.write(folder / FILE, _script(data, recipe, model, notes))
    return Config(NAME, (FILE, DATA, TABLE), f"sh {FILE}", notes)


def _entry(sample: Sample) -> dict[str, str]:
    references = {f"control_path_{number}": file for number, file in enumerate(sample.references)}
    return {"image_path": sample.file, **references, "caption": sample.text}


def _data(data: Dataset, recipe: Recipe) -> dict[str, Any]:
    """Without buckets there is one size, the canvas. Reference images keep theirs."""
    references: dict[str, Any] = {"no_resize_control": True} if data.most_references else {}
    table = {
        "image_jsonl_file": TABLE,
        "cache_directory": f"{base.BESIDE}/cache/musubi-tuner/{data.task.name}",
        "num_repeats": base.repeats(data),
        **references,
    }
    general = {"resolution": list(data.canvas), "batch_size": recipe.batch, "enable_bucket": False}
    return {"general": general, "datasets": [table]}


def _script(data: Dataset, recipe: Recipe, model: Mapping[str, Any], notes: tuple[str, ...]) -> str:
    """Encodes pictures, then texts, then trains."""
    name, version = model["script"], model.get("version", {})
    latents = {"dataset_config": DATA, "vae": model["vae"], **version}
    texts = {"dataset_config": DATA, **model["encoders"], "batch_size": 1, **version}
    steps = [
        _call("python", f"{name}_cache_latents.py", latents),
        _call("python", f"{name}_cache_text_encoder_outputs.py", texts),
        _call("accelerate launch", f"{name}_train_network.py", _arguments(data, recipe, model), "--sdpa",
              "--gradient_checkpointing"),
    ]  # fmt: skip
    return f'#!/bin/sh\n{base.comment(notes)}cd "$(dirname "$0")" || exit\n' + " &&\n".join(steps) + "\n"


def _call(program: str, script: str, values: Mapping[str, Any], *flags: str) -> str:
    words = [f"--{name} {shlex.quote(str(value))}" for name, value in values.items()]
    return " \\\n  ".join([f"{program} {TRAINER}/{script}", *words, *flags])


def _arguments(data: Dataset, recipe: Recipe, model: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "dit": model["dit"],
        "vae": model["vae"],
        **model["encoders"],
        **model.get("version", {}),
        "dataset_config": DATA,
        "network_module": model["network"],
        "network_dim": recipe.rank,
        "network_alpha": base.number(recipe.alpha),
        **model["sampling"],
        "weighting_scheme": "none",
        "mixed_precision": "bf16",
        "optimizer_type": "adamw8bit",
        "learning_rate": recipe.learning_rate,
        "lr_scheduler": base.schedule(recipe),
        "lr_warmup_steps": recipe.warmup,
        "max_grad_norm": recipe.clip,
        "max_train_steps": recipe.steps,
        "save_every_n_steps": recipe.save_every,
        "seed": recipe.seed,
        "output_dir": f"{base.BESIDE}/output",
        "output_name": data.task.name,
    }
