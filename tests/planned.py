"""What trainings of published bases are planned to take, on the canvas that the presets were made for."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from training import memory, presets
from training.activations import Lora, Sight
from training.backends.base import Backend
from training.config import Config
from training.memory import GIB, Phase

GPU = torch.device("cuda")
CANVAS = (1024, 1536)
TEXT = 512
"""Tokens of the longest caption."""
CARDS: Mapping[str, float] = {"12gb": 12, "16gb": 16, "24gb": 24, "48gb": 44, "80gb": 79}
"""GiB of the cards that presets are for: those sold as 48 and 80 GB have less (44 GiB with error correction)."""


def lora_of(backend: Backend, rank: int) -> Lora:
    layers = [
        (name, layer)
        for name, layer in backend.blank("transformer").named_modules()
        if re.fullmatch(backend.targets, name)
    ]
    size = sum(rank * (layer.in_features + layer.out_features) for _, layer in layers)
    return Lora(frozenset(name for name, _ in layers), rank, size)


def sight_of(backend: Backend, together: int, canvas: tuple[int, int] = CANVAS) -> Sight:
    """Grids without reference images."""
    text = backend.text_tokens(TEXT)
    return Sight(image=backend.tokens(canvas), text=text, together=together, canvas=canvas, read=text)


def phases(backend: Backend, config: Config, gpu: float | None = None) -> Mapping[str, Phase]:
    """By name.

    Args:
        gpu: GiB.
    """
    sight = sight_of(backend, config.micro_batch)
    found = memory.phases(backend, config, lora_of(backend, config.rank), sight, GPU, gpu and gpu * GIB)
    return {phase.name: phase for phase in found}


def with_preset(name: str) -> Config:
    return Config(**presets.TABLE[name])


def peak(backend: Backend, config: Config, gpu: float) -> float:
    """GiB of a GPU with so many GiB that are taken at the peak."""
    return max(phase.total for phase in phases(backend, config, gpu).values() if not phase.on_cpu) / GIB
