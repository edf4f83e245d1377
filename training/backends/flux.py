"""FLUX.1: FLUX.1-dev, whose guidance is an input, and FLUX.1-schnell, distilled to sample without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from training.backends._flux_1 import DYNAMIC, PARTS, TRANSFORMER, Flux1
from training.model_files import Known


class Flux(Flux1):
    PIPELINE = "FluxPipeline"
    BASE = "flux-1"
    KNOWN: ClassVar[Mapping[str, Known]] = {
        "black-forest-labs/FLUX.1-dev": Known(
            licence="flux-1-dev-non-commercial-license",
            parts=PARTS | {"transformer": TRANSFORMER | {"guidance_embeds": True}, "scheduler": DYNAMIC},
        ),
        "black-forest-labs/FLUX.1-schnell": Known(
            licence="apache-2.0",
            parts=PARTS
            | {
                "transformer": TRANSFORMER | {"guidance_embeds": False},
                "scheduler": {"use_dynamic_shifting": False, "shift": 1.0},
            },
            text_limit=256,
        ),
    }


def make(model: str | None, revision: str | None = None) -> Flux:
    return Flux(model, revision)
