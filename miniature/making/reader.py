"""A small convolutional net that names what a drawn panel shows; judges generated images in benchmarks and tests."""

from __future__ import annotations

import itertools
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from miniature.making.frames import ATTRIBUTES

MEANINGS = 128
"""Channels of the last stage."""
FILE = Path(__file__).parent / "reader.safetensors"


class Reader(nn.Module):
    """Panels of 128 x 64 pixels (B x 3 x 64 x 128, 0..1) -> for every attribute, the logits of its values."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 24, 48, 96, MEANINGS)
        last = len(widths) - 2
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, after, 3, stride=1 if number == last else 2, padding=1),
                nn.GroupNorm(8, after),
                nn.SiLU(),
                nn.Conv2d(after, after, 3, padding=1),
                nn.GroupNorm(8, after),
                nn.SiLU(),
            )
            for number, (before, after) in enumerate(itertools.pairwise(widths))
        )
        self.heads = nn.ModuleList(nn.Linear(MEANINGS * 2 * 4, len(values)) for values in ATTRIBUTES.values())
        self.pool = nn.AdaptiveMaxPool2d((2, 4))
        self.mean = nn.Buffer(torch.zeros(MEANINGS))
        self.deviation = nn.Buffer(torch.ones(MEANINGS))

    def features(self, panels_BCHW: Tensor) -> list[Tensor]:
        """The output of every stage; for the VAE's perceptual loss."""
        outputs, x = [], 4 * (panels_BCHW - 0.5)
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs

    def forward(self, panels_BCHW: Tensor) -> list[Tensor]:
        gathered = self.pool(self.features(panels_BCHW)[-1]).flatten(1)
        return [head(gathered) for head in self.heads]

    @torch.no_grad()
    def meanings(self, panels_BCHW: Tensor) -> Tensor:
        """The last stage's output for every 8 x 8 pixels, standardised by channel: B x 128 x 8 x 16."""
        last = self.features(panels_BCHW)[-1]
        return (last - self.mean[:, None, None]) / self.deviation[:, None, None]

    def standardise(self, panels_BCHW: Tensor) -> None:
        """Sets mean and deviation of `meanings` from typical panels."""
        with torch.no_grad():
            last = self.features(panels_BCHW)[-1]
        self.mean.copy_(last.mean((0, 2, 3)))
        self.deviation.copy_(last.std((0, 2, 3)).clamp(min=1e-3))

    @torch.inference_mode()
    def read(self, panels_BCHW: Tensor) -> list[dict[str, str]]:
        """The likeliest value of every attribute, as one dictionary per panel."""
        best = [logits.argmax(-1).tolist() for logits in self(panels_BCHW)]
        return [
            {name: values[index] for (name, values), index in zip(ATTRIBUTES.items(), row, strict=True)}
            for row in zip(*best, strict=True)
        ]

    def save(self, file: Path = FILE) -> None:
        save_file({name: tensor.half().contiguous() for name, tensor in self.state_dict().items()}, file)

    @classmethod
    def load(cls, file: Path = FILE) -> Reader:
        reader = cls()
        reader.load_state_dict({name: tensor.float() for name, tensor in load_file(file).items()})
        return reader.eval()
