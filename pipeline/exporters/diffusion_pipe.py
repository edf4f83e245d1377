"""diffusion-pipe: a TOML of the training and one of each side of the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.dataset.samples import MASKS, Config, Dataset
from pipeline.dataset.split import HELD_OUT, TRAIN
from pipeline.exporters import base

NAME = "diffusion-pipe"
FILE = "diffusion-pipe.toml"
DATA = {TRAIN: "diffusion-pipe-data.toml", HELD_OUT: "diffusion-pipe-held-out.toml"}
STEP = 32
"""The coarsest step of its sizes."""
COMFY = "models/"
EIGHT_BIT = {"dtype": "bfloat16", "transformer_dtype": "float8"}
MODELS: dict[str, dict[str, Any]] = {
    "flux-1": {"type": "flux", "diffusers_path": "", **EIGHT_BIT, "flux_shift": True, "guidance": 1.0},
    "sd-3.5": {"type": "sd3", "diffusers_path": "", **EIGHT_BIT, "flux_shift": True},
    "qwen-image": {
        "type": "qwen_image",
        "diffusers_path": "",
        **EIGHT_BIT,
        "timestep_sample_method": "logit_normal",
    },
    "hidream-i1": {
        "type": "hidream",
        "diffusers_path": "",
        "llama3_path": f"{COMFY}Meta-Llama-3.1-8B-Instruct",
        "llama3_4bit": True,
        **EIGHT_BIT,
    },
    "flux-2": {
        "type": "flux2",
        "diffusion_model": f"{COMFY}flux2-dev.safetensors",
        "vae": f"{COMFY}flux2-vae.safetensors",
        "text_encoders": [{"path": f"{COMFY}mistral_3_small_flux2_fp8.safetensors", "type": "flux2"}],
        "dtype": "bfloat16",
        "diffusion_model_dtype": "float8",
        "timestep_sample_method": "logit_normal",
        "shift": 3,
    },
    "flux-2-klein": {
        "type": "flux2",
        "diffusion_model": f"{COMFY}flux-2-klein-base-4b.safetensors",
        "vae": f"{COMFY}flux2-vae.safetensors",
        "text_encoders": [{"path": f"{COMFY}qwen_3_4b.safetensors", "type": "flux2"}],
        "dtype": "bfloat16",
        "timestep_sample_method": "logit_normal",
        "shift": 3,
    },
    "z-image": {
        "type": "z_image",
        "diffusion_model": f"{COMFY}z_image_bf16.safetensors",
        "vae": f"{COMFY}flux_vae.safetensors",
        "text_encoders": [{"path": f"{COMFY}qwen_3_4b.safetensors", "type": "lumina2"}],
        "dtype": "bfloat16",
    },
    "lumina-2": {
        "type": "lumina_2",
        "transformer_path": f"{COMFY}lumina_2_model_bf16.safetensors",
        "llm_path": f"{COMFY}gemma_2_2b_fp16.safetensors",
        "vae_path": f"{COMFY}flux_vae.safetensors",
        "dtype": "bfloat16",
        "lumina_shift": True,
    },
}
"""Its section `model` for each base; an empty diffusers_path is filled with the base's own folder."""


def write(data: Dataset, folder: Path) -> Config:
    model = MODELS.get(data.task.base)
    notes = base.unknown_base(NAME, data, MODELS) + base.off_step(data, STEP)
    notes += ("It warns that metadata.jsonl can't be opened as a picture, and goes on.",)
    files = [DATA[side] for side in data.sides or (TRAIN,)]
    for side, file in zip(data.sides or (TRAIN,), files, strict=True):
        (folder / file).write_text(base.comment(notes) + base.as_toml(_data(data, side)), encoding="utf-8")
    if model is None:
        return Config(NAME, tuple(files), "", notes)
    notes += (_where_from(data, model),)
    command = f'deepspeed --num_gpus=1 train.py --deepspeed --config "{data.home / FILE}"'
    training = base.as_toml(_training(data, model))
    (folder / FILE).write_text(base.comment(notes, command) + training, encoding="utf-8")
    return Config(NAME, (FILE, *files), command, notes)


def _where_from(data: Dataset, model: dict[str, Any]) -> str:
    if "diffusers_path" not in model:
        return f"Put the model's files, as ComfyUI has them, at the paths in [model] of {FILE}, or set the paths."
    repo = base.hub_model(data)
    return f"Fetch the model first: hf download {repo} --local-dir {_local(repo)} (or set the path in {FILE})."


def _local(repo: str) -> str:
    return f"models/{repo.rpartition('/')[2]}"


def _data(data: Dataset, side: str) -> dict[str, Any]:
    """A size bucket is taken as it is, so the one of the canvas leaves the grids whole.

    Each epoch loses what does not fill a batch; repeated as often as a batch is large, the grids fill it.
    """
    masks = {"mask_path": str(data.home / MASKS[side])} if data.task.condition else {}
    directory = {"path": str(data.home / side), **masks, "num_repeats": base.BATCH if side == TRAIN else 1}
    return {"size_buckets": [[*data.canvas, 1]], "shuffle_tags": False, "directory": [directory]}


def _training(data: Dataset, model: dict[str, Any]) -> dict[str, Any]:
    path = {"diffusers_path": _local(base.hub_model(data))} if "diffusers_path" in model else {}
    held_out = [{"name": "held-out", "config": str(data.home / DATA[HELD_OUT])}] if data.held_out else []
    return {
        "output_dir": f"output/{data.task.name}",
        "dataset": str(data.home / DATA[TRAIN]),
        "eval_datasets": held_out,
        "epochs": 1000,
        "max_steps": base.STEPS,
        "micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": base.BATCH,
        "pipeline_stages": 1,
        "gradient_clipping": 1.0,
        "warmup_steps": 0,
        "eval_every_n_steps": base.SAVE_EVERY,
        "eval_micro_batch_size_per_gpu": 1,
        "eval_gradient_accumulation_steps": 1,
        "save_every_n_steps": base.SAVE_EVERY,
        "activation_checkpointing": True,
        "save_dtype": "bfloat16",
        "model": model | path,
        "adapter": {"type": "lora", "rank": base.RANK, "dtype": "bfloat16"},
        "optimizer": {"type": "adamw_optimi", "lr": base.LEARNING_RATE, "betas": [0.9, 0.99], "weight_decay": 0.01},
    }
