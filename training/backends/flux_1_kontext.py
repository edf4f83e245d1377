"""FLUX.1 Kontext: FLUX.1 that is shown a reference image as further tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from training.backends._flux_1 import DYNAMIC, PARTS, TRANSFORMER, Flux1
from training.model_files import Known


class Kontext(Flux1):
    PIPELINE = "FluxKontextPipeline"
    BASE = "flux-1-kontext"
    REFERENCES = 1  # as its pipeline takes and the model was trained; ComfyUI's templates stitch several into one
    CALL: ClassVar[Mapping[str, str]] = {"max_area": "WIDTH * HEIGHT"}  # else every canvas gets about a megapixel
    KNOWN: ClassVar[Mapping[str, Known]] = {
        "black-forest-labs/FLUX.1-Kontext-dev": Known(
            licence="flux-1-dev-non-commercial-license",
            parts=PARTS | {"transformer": TRANSFORMER | {"guidance_embeds": True}, "scheduler": DYNAMIC},
        )
    }

    def reference_size(self, size: tuple[int, int], scale: float = 1.0) -> tuple[int, int]:
        """The one of the resolutions that Kontext was trained on whose shape is nearest; all have about a megapixel."""
        from diffusers.pipelines.flux.pipeline_flux_kontext import PREFERRED_KONTEXT_RESOLUTIONS

        shape = size[0] / size[1]
        _, width, height = min((abs(shape - w / h), w, h) for w, h in PREFERRED_KONTEXT_RESOLUTIONS)
        return self.whole_tokens((width, height), scale)


def make(model: str | None, revision: str | None = None) -> Kontext:
    return Kontext(model, revision)
