"""Presets: settings for GPUs of a size, by one name. Whatever is set by hand goes before them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Preset = Literal["12gb", "16gb", "24gb", "48gb", "80gb"]

COLUMNS = ("base_weights", "optimizer", "micro_batch")
TABLE: Mapping[str, Mapping[str, Any]] = {
    name: {"checkpointing": True, "offload": False, **dict(zip(COLUMNS, row, strict=True))}
    for name, row in {
        "12gb": ("nf4", "adamw8bit", 1),
        "16gb": ("nf4", "adamw", 1),
        "24gb": ("fp8", "adamw", 1),
        "48gb": ("bf16", "adamw", 1),
        "80gb": ("bf16", "adamw", 4),
    }.items()
}
"""What each sets: the base at the highest precision at which FLUX.1-dev fits by plan on a canvas of 1024 x 1536 pixels.
Every block is recomputed in the backward pass, without which the activations alone would take some 55 GiB there. Canvas
and rank are left alone, since they decide what is learnt; offload is off, since it costs time in every step."""


def settings_of(name: object) -> Mapping[str, Any]:
    """What a preset sets; nothing for any other name, which is an error of its own."""
    return TABLE.get(name, {}) if isinstance(name, str) else {}
