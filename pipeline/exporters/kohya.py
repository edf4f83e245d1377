"""kohya sd-scripts: a TOML of the data and one of the training's arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.dataset.samples import MASKS, Config, Dataset
from pipeline.dataset.split import TRAIN
from pipeline.exporters import base

NAME = "kohya sd-scripts"
DATA, ARGUMENTS = "kohya.toml", "kohya-arguments.toml"
FLUX_LIKE = {"timestep_sampling": "flux_shift", "model_prediction_type": "raw", "guidance_scale": 1.0}
"""Its default for model_prediction_type contradicts its own target; its documentation says raw."""
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "flux-1": (
        "flux_train_network.py",
        {
            "pretrained_model_name_or_path": "models/flux1-dev.safetensors",
            "clip_l": "models/clip_l.safetensors",
            "t5xxl": "models/t5xxl_fp16.safetensors",
            "ae": "models/ae.safetensors",
            "network_module": "networks.lora_flux",
            "t5xxl_max_token_length": 512,
            **FLUX_LIKE,
        },
    ),
    "chroma": (
        "flux_train_network.py",
        {
            "pretrained_model_name_or_path": "models/Chroma1-HD.safetensors",
            "model_type": "chroma",
            "t5xxl": "models/t5xxl_fp16.safetensors",
            "ae": "models/ae.safetensors",
            "network_module": "networks.lora_flux",
            "apply_t5_attn_mask": True,
            **FLUX_LIKE,
            "timestep_sampling": "sigmoid",
            "guidance_scale": 0.0,
        },
    ),
    "sd-3.5": (
        "sd3_train_network.py",
        {
            "pretrained_model_name_or_path": "models/sd3.5_large.safetensors",
            "clip_l": "models/clip_l.safetensors",
            "clip_g": "models/clip_g.safetensors",
            "t5xxl": "models/t5xxl_fp16.safetensors",
            "network_module": "networks.lora_sd3",
            "t5xxl_max_token_length": 256,
        },
    ),
    "lumina-2": (
        "lumina_train_network.py",
        {
            "pretrained_model_name_or_path": "models/lumina-image-2.safetensors",
            "gemma2": "models/gemma-2-2b.safetensors",
            "ae": "models/ae.safetensors",
            "network_module": "networks.lora_lumina",
            "timestep_sampling": "nextdit_shift",
            "discrete_flow_shift": 6.0,
            "model_prediction_type": "raw",
        },
    ),
}
"""Script and arguments of each base; it reads single files, in the form that ComfyUI reads too."""


def write(data: Dataset, folder: Path) -> Config:
    notes = base.unknown_base(NAME, data, MODELS)
    if data.held_out:
        notes += (f"{NAME} has no place for a held-out folder: validation/ is not used by it.",)
    script, files = MODELS.get(data.task.base, ("", {}))
    command = f'accelerate launch {script} --config_file "{data.home / ARGUMENTS}"' if script else ""
    if script:
        notes += (f"Set the paths of the model's files in {ARGUMENTS} first.",)
        arguments = base.as_toml(_arguments(data, files))
        (folder / ARGUMENTS).write_text(base.comment(notes, command) + arguments, encoding="utf-8")
    (folder / DATA).write_text(base.comment(notes, command) + base.as_toml(_data(data)), encoding="utf-8")
    return Config(NAME, (DATA, ARGUMENTS) if script else (DATA,), command, notes)


def _data(data: Dataset) -> dict[str, Any]:
    """Without buckets there is one size, and it is the canvas: nothing is scaled, and nothing is cut."""
    masks = {"conditioning_data_dir": str(data.home / MASKS[TRAIN])} if data.task.condition else {}
    subset = {
        "image_dir": str(data.home / TRAIN),
        **masks,
        "caption_extension": ".txt",
        "num_repeats": 1,
        "shuffle_caption": False,
        "caption_tag_dropout_rate": 0.0,
        "enable_wildcard": False,
        "flip_aug": False,
        "color_aug": False,
        "random_crop": False,
    }
    size = {"resolution": list(data.canvas), "enable_bucket": False, "batch_size": base.BATCH}
    return {"datasets": [{**size, "subsets": [subset]}]}


def _arguments(data: Dataset, files: dict[str, Any]) -> dict[str, Any]:
    return {
        **files,
        "dataset_config": str(data.home / DATA),
        "output_dir": "output",
        "output_name": data.task.name,
        "save_model_as": "safetensors",
        "save_every_n_steps": base.SAVE_EVERY,
        "network_dim": base.RANK,
        "network_alpha": base.RANK,
        "network_train_unet_only": True,
        "learning_rate": base.LEARNING_RATE,
        "optimizer_type": "AdamW8bit",
        "lr_scheduler": "constant",
        "max_train_steps": base.STEPS,
        "mixed_precision": "bf16",
        "gradient_checkpointing": True,
        "sdpa": True,
        "cache_latents": True,
        "masked_loss": bool(data.task.condition),
    }
