"""Small parts of made-up model families, for backends that use what FLUX.1 and Z-Image leave unused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import tiny
import torch
from diffusers import AutoencoderKL
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.loaders import PeftAdapterMixin
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 32
LETTERS = 128
"""Tokens of the vocabulary."""
SEEN = 4
"""Rows and columns of a reference image as the encoder sees it."""


class Block(nn.Module):
    """Attention over image and text tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, tokens_BND: Tensor) -> Tensor:
        normed = self.norm(tokens_BND)
        seen = functional.scaled_dot_product_attention(self.to_q(normed), self.to_k(normed), self.to_v(normed))
        return tokens_BND + self.to_out(seen)


class ToyTransformer(ModelMixin, ConfigMixin, PeftAdapterMixin):  # type: ignore[misc]
    """Image tokens with their positions, text tokens and a noise level in; image tokens out."""

    @register_to_config
    def __init__(self, channels: int = 16, layers: int = 2) -> None:
        super().__init__()
        self.dim = WIDTH
        self.image_in, self.place_in, self.text_in = (
            nn.Linear(channels, WIDTH),
            nn.Linear(3, WIDTH),
            nn.Linear(WIDTH, WIDTH),
        )
        self.level_in = nn.Linear(1, WIDTH)
        self.blocks = nn.ModuleList(Block(WIDTH) for _ in range(layers))
        self.image_out = nn.Linear(WIDTH, channels)

    def forward(self, tokens_NK: Tensor, places_N3: Tensor, text_LD: Tensor, sigma: Tensor) -> Tensor:
        image = self.image_in(tokens_NK) + self.place_in(places_N3) + self.level_in(sigma.reshape(1))
        tokens = torch.cat([image, self.text_in(text_LD)])[None]
        for block in self.blocks:
            tokens = block(tokens)
        out: Tensor = self.image_out(tokens[0, : len(image)])
        return out


class ToyReader(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Reads letters, and images if it gets any: one token for each."""

    @register_to_config
    def __init__(self) -> None:
        super().__init__()
        self.letters, self.pictures = nn.Embedding(LETTERS, WIDTH), nn.Linear(3 * SEEN * SEEN, WIDTH)

    def forward(self, ids_L: Tensor, pictures: Sequence[Tensor] = ()) -> Tensor:
        seen = [functional.adaptive_avg_pool2d(one, SEEN).reshape(1, -1) for one in pictures]
        read: Tensor = torch.cat([self.letters(ids_L), *(self.pictures(one) for one in seen)])
        return read


def places(rows: int, columns: int, index: float = 0.0) -> Tensor:
    """Row, column and the number of the image: rows * columns x 3."""
    grid = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).float() / 8
    return torch.cat([grid, torch.full((len(grid), 1), index)], dim=1)


def write(folder: Path, pipeline: str, *, downs: int, latents: int, channels: int) -> Path:
    """A model in a folder as diffusers lays it out.

    Args:
        downs: the VAE halves the sides one time less than this.
        latents: channels of the latents.
        channels: of a token.
    """
    torch.manual_seed(0)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * downs,
        up_block_types=("UpDecoderBlock2D",) * downs,
        block_out_channels=(8,) * downs,
        layers_per_block=1,
        latent_channels=latents,
        norm_num_groups=4,
    )
    for name, part in (
        ("vae", vae),
        ("text_encoder", ToyReader()),
        ("transformer", ToyTransformer(channels)),
        ("tokenizer", tiny.letters(256, "<pad>", "</s>")),
    ):
        part.save_pretrained(folder / name)
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps({"shift": 2.0}), encoding="utf-8")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline}), encoding="utf-8")
    return folder
