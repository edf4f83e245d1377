"""A family that takes two reference images: as tokens beside those of the grid, and shown to the text encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import toy_models
from PIL import Image
from torch import Tensor

from training import dataset
from training.backends.base import Backend, Encoded, Guidance, References, pack, unpack
from training.model_files import Known


class ToyReference(Backend):
    PIPELINE = "ToyReferencePipeline"
    BASE = "toy-reference"
    ENCODERS = ("text_encoder",)
    CLASSES: ClassVar[Mapping[str, tuple[str, str]]] = {
        "transformer": ("toy_models", "ToyTransformer"),
        "vae": ("diffusers", "AutoencoderKL"),
        "text_encoder": ("toy_models", "ToyReader"),
    }
    STRIDE = 8
    TARGETS = r"blocks\.\d+\.to_(?:q|k|v|out)"
    KNOWN: ClassVar[Mapping[str, Known]] = {}
    REFERENCES = 2
    REFERENCE_PIXELS = 512 * 512
    ENCODER_SEES_REFERENCES = True

    @property
    def guidance(self) -> Guidance:
        return "classifier-free"

    @torch.inference_mode()
    def encode_text(
        self, encoders: Mapping[str, Any], texts: Sequence[str], references: Sequence[Sequence[Image.Image]] = ()
    ) -> list[Encoded]:
        ids = self.tokenizer()(list(texts)).input_ids
        pictures = [[dataset.pixels(image) for image in images] for images in references] or [[] for _ in texts]
        return [
            {"text": encoders["text_encoder"](torch.tensor(row[: self.text_limit]), seen)}
            for row, seen in zip(ids, pictures, strict=True)
        ]

    def predict(
        self,
        transformer: Any,
        noisy_BCHW: Tensor,
        sigma_B: Tensor,
        texts: Sequence[Encoded],
        *,
        references: References = (),
        guidance: float = 1.0,
    ) -> Tensor:
        rows, columns = noisy_BCHW.shape[-2:]
        out = []
        for number, (latents, sigma, text) in enumerate(zip(noisy_BCHW, sigma_B, texts, strict=True)):
            pictures = [latents, *(references[number] if references else ())]
            tokens = torch.cat([pack(picture[None])[0] for picture in pictures])
            sides = [(picture.shape[-2] // 2, picture.shape[-1] // 2) for picture in pictures]
            places = torch.cat([toy_models.places(*side, float(index)) for index, side in enumerate(sides)])
            out.append(transformer(tokens, places, text["text"], sigma)[: rows * columns // 4])
        return unpack(torch.stack(out), rows, columns)


def make(model: str | None, revision: str | None = None) -> ToyReference:
    return ToyReference(model, revision)


def tiny(folder: Path) -> Path:
    return toy_models.write(folder, ToyReference.PIPELINE, downs=4, latents=4, channels=16)
