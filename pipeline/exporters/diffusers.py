"""The example scripts of diffusers (DreamBooth LoRA): a shell script with their arguments; the data serves as it is."""

from __future__ import annotations

from pathlib import Path

from pipeline.dataset.samples import Config, Dataset
from pipeline.exporters import base
from pipeline.families import BASES

NAME = "diffusers example scripts"
FILE = "diffusers.sh"
SCRIPTS = {
    "flux-1": "train_dreambooth_lora_flux_kontext.py",
    "flux-2": "train_dreambooth_lora_flux2.py",
    "flux-2-klein": "train_dreambooth_lora_flux2_klein.py",
    "qwen-image": "train_dreambooth_lora_qwen_image.py",
    "z-image": "train_dreambooth_lora_z_image.py",
}
"""Those that take a size that is no square."""
SQUARE = {
    "sd-3.5": "train_dreambooth_lora_sd3.py",
    "sana": "train_dreambooth_lora_sana.py",
    "lumina-2": "train_dreambooth_lora_lumina2.py",
    "hidream-i1": "train_dreambooth_lora_hidream.py",
}
"""Those that cut a square out of every picture, whatever they are told."""


def write(data: Dataset, folder: Path) -> Config:
    known = data.task.base
    notes = base.unmasked(data)
    if known == "flux-1":
        notes += (
            "The script of Kontext, without a column of conditions, trains FLUX.1-dev on texts alone; that of "
            "FLUX.1 itself cuts a square out of every grid.",
        )
    if known in SQUARE:
        notes += (f"{SQUARE[known]} cuts a square out of every grid, so panels would be lost: use another trainer.",)
    else:
        notes += base.unknown_base(NAME, data, SCRIPTS)
    if known not in SCRIPTS:
        (folder / FILE).write_text(base.comment(notes), encoding="utf-8")
        return Config(NAME, (FILE,), "", notes)
    notes += ("Leave --cache_latents off: it has given captions to other pictures in some of these scripts.",)
    script = base.as_shell(notes, f"examples/dreambooth/{SCRIPTS[known]}", *_arguments(data))
    (folder / FILE).write_text(script, encoding="utf-8")
    return Config(NAME, (FILE,), f'sh "{data.home / FILE}"', notes)


def _arguments(data: Dataset) -> tuple[dict[str, str], list[str]]:
    """A bucket is given as height, width. Batches are of one, gathered to four: an unfilled batch would be dropped."""
    width, height = data.canvas
    pairs = {
        "pretrained_model_name_or_path": base.hub_model(data),
        "dataset_name": str(data.home),
        "image_column": "image",
        "caption_column": "text",
        "instance_prompt": data.task.prefix or data.task.title,
        "output_dir": f"output/{data.task.name}",
        "aspect_ratio_buckets": f"{height},{width}",
        "max_sequence_length": str(BASES[data.task.base].limit),
        "rank": str(base.RANK),
        "lora_alpha": str(base.RANK),
        "learning_rate": str(base.LEARNING_RATE),
        "lr_scheduler": "constant",
        "train_batch_size": "1",
        "gradient_accumulation_steps": str(base.BATCH),
        "max_train_steps": str(base.STEPS),
        "checkpointing_steps": str(base.SAVE_EVERY),
        "mixed_precision": "bf16",
        "seed": str(data.task.seed),
    }
    guidance = {"flux-1": "1.0", "flux-2": "1.0"}
    if data.task.base in guidance:
        pairs["guidance_scale"] = guidance[data.task.base]
    flags = ["--use_aspect_ratio_buckets", "--center_crop", "--gradient_checkpointing", "--use_8bit_adam"]
    return pairs, flags
