"""A family of stride 32: latents are the tokens, normalised by channel, with noise levels that nothing shifts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import toy_models
from PIL import Image
from torch import Tensor

from training.backends.base import Backend, Encoded, Guidance, References
from training.model_files import Known

CHANNELS = 6
MEAN, STD = torch.linspace(-0.5, 0.5, CHANNELS).view(-1, 1, 1), torch.linspace(0.5, 2, CHANNELS).view(-1, 1, 1)


class Toy32(Backend):
    PIPELINE = "Toy32Pipeline"
    BASE = "toy-32"
    ENCODERS = ("text_encoder",)
    CLASSES: ClassVar[Mapping[str, tuple[str, str]]] = {
        "transformer": ("toy_models", "ToyTransformer"),
        "vae": ("diffusers", "AutoencoderKL"),
        "text_encoder": ("toy_models", "ToyReader"),
    }
    STRIDE = 32
    TARGETS = r"blocks\.\d+\.to_(?:q|k|v|out)"
    KNOWN: ClassVar[Mapping[str, Known]] = {}

    @property
    def guidance(self) -> Guidance:
        return "none"

    def shift(self, tokens: int) -> float:
        return 1.0

    def draw_sigma(self, tokens: int, generator: torch.Generator) -> Tensor:
        return torch.rand((), generator=generator)

    def noise_levels(self, steps: int, tokens: int) -> Tensor:
        return torch.linspace(1, 0, steps + 1)

    @torch.inference_mode()
    def encode_image(self, vae: Any, pixels_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        posterior = vae.encode(pixels_BCHW).latent_dist
        return (posterior.mean - MEAN) / STD, posterior.std / STD

    @torch.inference_mode()
    def decode_image(self, vae: Any, latents_BCHW: Tensor) -> Tensor:
        decoded: Tensor = vae.decode(latents_BCHW * STD + MEAN).sample
        return (decoded / 2 + 0.5).clamp(0, 1)

    @torch.inference_mode()
    def encode_text(
        self, encoders: Mapping[str, Any], texts: Sequence[str], references: Sequence[Sequence[Image.Image]] = ()
    ) -> list[Encoded]:
        assert not references
        ids = self.tokenizer()(list(texts)).input_ids
        return [{"text": encoders["text_encoder"](torch.tensor(row[: self.text_limit]))} for row in ids]

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
        assert not any(references)
        _, channels, rows, columns = noisy_BCHW.shape
        places = toy_models.places(rows, columns)
        out = [
            transformer(latents.reshape(channels, -1).T, places, text["text"], sigma)
            for latents, sigma, text in zip(noisy_BCHW, sigma_B, texts, strict=True)
        ]
        return torch.stack([tokens.T.reshape(channels, rows, columns) for tokens in out])


def make(model: str | None, revision: str | None = None) -> Toy32:
    return Toy32(model, revision)


def tiny(folder: Path) -> Path:
    return toy_models.write(folder, Toy32.PIPELINE, downs=6, latents=CHANNELS, channels=CHANNELS)
