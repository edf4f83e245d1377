"""What programs that manage LoRAs read from a file's header: base model, trigger, resolution, a picture.

The names are those of ModelSpec 1.0.1 (https://github.com/Stability-AI/ModelSpec) and of kohya-ss/sd-scripts (`ss_`),
which ComfyUI's, Forge's and other LoRA managers look for. There is no date among them: the same training gives the
same bytes.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from pipeline import families

if TYPE_CHECKING:
    from training.lora_file import Card

SPECIFICATION = "1.0.1"
THUMBNAIL, QUALITY = 256, 80
"""The thumbnail's longer side in pixels, and its JPEG quality: some 10 kB, which every reader of the header loads."""


def header_fields(card: Card, rank: int, digest: str, thumbnail: bytes = b"") -> dict[str, str]:
    """The fields of a file, all of them texts.

    Args:
        rank: of the LoRA; alpha equals it, since the strength is folded into the weights.
        digest: SHA-256 of the tensors' bytes, in hexadecimal digits.
        thumbnail: a JPEG; empty for none.
    """
    family, layout = families.load(card.family), card.shown
    width, height = layout.canvas
    known = card.base == family.model
    found = {
        "modelspec.sai_model_spec": SPECIFICATION,
        "modelspec.architecture": f"{family.architecture if known and family.architecture else card.family}/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.title": f"{card.task}, In-Context LoRA",
        "modelspec.description": f"Draws {layout.size} related panels ({layout.rows} x {layout.cols}) as one grid; "
        f"step {card.step}, trained on {card.grids} grids with iclora {card.iclora}.",
        "modelspec.resolution": f"{width}x{height}",
        "modelspec.license": card.licence,
        "modelspec.trigger_phrase": card.prefix,
        "modelspec.usage_hint": skeleton(card),
        "modelspec.tags": f"in-context-lora, {card.task}",
        "modelspec.hash_sha256": f"0x{digest}",
        "modelspec.thumbnail": _data_url(thumbnail),
        "sshs_model_hash": digest,
        "ss_base_model_version": family.base_version or card.family,
        "ss_sd_model_name": card.base,
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(rank),
        "ss_output_name": card.task,
        "ss_resolution": f"({width}, {height})",
        "ss_num_train_images": str(card.grids),
        "ss_steps": str(card.step),
    }
    return {name: value for name, value in found.items() if value}


def skeleton(card: Card) -> str:
    """How captions of the LoRA's training read, with dots in place of the texts."""
    return ", ".join(f"{mark} ...".lstrip() for mark in (card.prefix, *card.markers))


def thumbnail_of(picture: Path) -> bytes:
    """A small JPEG of a picture."""
    with Image.open(picture) as opened:
        small = opened.convert("RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    small.save(content, "JPEG", quality=QUALITY)
    return content.getvalue()


def _data_url(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}" if jpeg else ""
