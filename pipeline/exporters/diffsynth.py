"""DiffSynth-Studio: a CSV of pictures and prompts, and a shell script with its arguments."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from pipeline.dataset.samples import Config, Dataset
from pipeline.exporters import base

NAME = "DiffSynth-Studio"
FILE, TABLE = "diffsynth.sh", "diffsynth.csv"
FLUX_1 = "a_to_qkv,b_to_qkv,ff_a.0,ff_a.2,ff_b.0,ff_b.2,a_to_out,b_to_out,proj_out,norm.linear,norm1_a.linear,norm1_b.linear,to_qkv_mlp"  # noqa: E501
ATTENTION = "to_q,to_k,to_v,to_out.0,add_q_proj,add_k_proj,add_v_proj,to_add_out"
MODELS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "flux-1": (
        "flux",
        tuple(
            f"black-forest-labs/FLUX.1-dev:{file}"
            for file in (
                "flux1-dev.safetensors",
                "text_encoder/model.safetensors",
                "text_encoder_2/*.safetensors",
                "ae.safetensors",
            )
        ),
        FLUX_1,
    ),
    "flux-2": (
        "flux2",
        tuple(
            f"black-forest-labs/FLUX.2-dev:{file}"
            for file in (
                "text_encoder/*.safetensors",
                "transformer/*.safetensors",
                "vae/diffusion_pytorch_model.safetensors",
            )
        ),
        ATTENTION,
    ),
    "flux-2-klein": (
        "flux2",
        (
            "black-forest-labs/FLUX.2-klein-4B:text_encoder/*.safetensors",
            "black-forest-labs/FLUX.2-klein-base-4B:transformer/*.safetensors",
            "black-forest-labs/FLUX.2-klein-4B:vae/diffusion_pytorch_model.safetensors",
        ),
        ATTENTION,
    ),
    "qwen-image": (
        "qwen_image",
        tuple(
            f"Qwen/Qwen-Image:{file}"
            for file in (
                "transformer/diffusion_pytorch_model*.safetensors",
                "text_encoder/model*.safetensors",
                "vae/diffusion_pytorch_model.safetensors",
            )
        ),
        ATTENTION,
    ),
    "z-image": (
        "z_image",
        (
            "Tongyi-MAI/Z-Image:transformer/*.safetensors",
            "Tongyi-MAI/Z-Image-Turbo:text_encoder/*.safetensors",
            "Tongyi-MAI/Z-Image-Turbo:vae/diffusion_pytorch_model.safetensors",
        ),
        "to_q,to_k,to_v,to_out.0,w1,w2,w3",
    ),
}
"""Folder of its examples, weights, and layers that learn."""
EXTRA = {
    "flux-1": ["--align_to_opensource_format"],
    "flux-2-klein": ["--tokenizer_path black-forest-labs/FLUX.2-klein-4B:tokenizer/"],
}


def write(data: Dataset, folder: Path) -> Config:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(("image", "prompt"))
    writer.writerows((sample.file, sample.text) for sample in data.train)
    (folder / TABLE).write_text(buffer.getvalue(), encoding="utf-8")
    notes = base.unknown_base(NAME, data, MODELS) + base.unmasked(data)
    if data.task.base not in MODELS:
        (folder / FILE).write_text(base.comment(notes), encoding="utf-8")
        return Config(NAME, (FILE, TABLE), "", notes)
    example, _, _ = MODELS[data.task.base]
    script = base.as_shell(notes, f"examples/{example}/model_training/train.py", *_arguments(data))
    (folder / FILE).write_text(script, encoding="utf-8")
    return Config(NAME, (FILE, TABLE), f'sh "{data.home / FILE}"', notes)


def _arguments(data: Dataset) -> tuple[dict[str, str], list[str]]:
    """With height and width it has one size. It takes one picture a step; an epoch is the data so often repeated."""
    _, weights, layers = MODELS[data.task.base]
    width, height = data.canvas
    repeat = 50
    pairs = {
        "dataset_base_path": str(data.home),
        "dataset_metadata_path": str(data.home / TABLE),
        "data_file_keys": "image",
        "height": str(height),
        "width": str(width),
        "dataset_repeat": str(repeat),
        "model_id_with_origin_paths": ",".join(weights),
        "learning_rate": str(base.LEARNING_RATE),
        "gradient_accumulation_steps": str(base.BATCH),
        "num_epochs": str(max(1, round(base.STEPS * base.BATCH / repeat / max(1, len(data.train))))),
        "remove_prefix_in_ckpt": "pipe.dit.",
        "output_path": f"models/train/{data.task.name}",
        "lora_base_model": "dit",
        "lora_target_modules": layers,
        "lora_rank": str(base.RANK),
    }
    flags = [*EXTRA.get(data.task.base, []), "--use_gradient_checkpointing"]
    return pairs, flags
