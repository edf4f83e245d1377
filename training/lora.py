"""The LoRA in a transformer, and the average of its weights. Its file is `lora_file`'s."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import BadInput
from training.backends.base import Backend
from training.config import Config
from training.lora_file import LISTED, layers_of, read_weights
from training.lora_keys import SUFFIXES
from training.random_streams import generator


def attach(transformer: Any, backend: Backend, config: Config) -> dict[str, nn.Parameter]:
    """Puts a LoRA on the layers that the family names; returns its weights by layer, A and B.

    The weights are float32 whatever the base's dtype is: in bfloat16 a step of 1e-4 leaves most of them unchanged. B is
    zero, so that the model starts as its base, or what `init` says.

    Raises:
        BadInput: the file to start from doesn't fit.
    """
    from peft import LoraConfig

    start = _start(Path(config.init), transformer, backend, config.rank) if config.init else {}
    targets = "|".join(re.escape(layer) for layer in layers_of(start)) or backend.targets
    with torch.random.fork_rng(devices=[]):  # peft draws too, and rounds to the base's dtype
        transformer.add_adapter(LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules=targets))  # type: ignore[arg-type]  # peft takes a float, its types say int
    found = {
        name.replace(".default.", "."): parameter
        for name, parameter in transformer.named_parameters()
        if ".lora_" in name
    }
    strength = config.alpha / config.rank
    for name, parameter in found.items():
        parameter.data = parameter.data.float()
        if name.endswith(SUFFIXES[0]):
            parameter.data.copy_(_drawn(parameter.shape, config.seed, name))
        if name in start:
            parameter.data.copy_(start[name] / strength if name.endswith(SUFFIXES[1]) else start[name])
        parameter.requires_grad_(True)
    return found


def _drawn(shape: torch.Size, seed: int, name: str) -> Tensor:
    """An initial A as peft draws it (He et al. 2015, arXiv 1502.01852), from the seed and the name alone."""
    rng = generator(seed, "lora", name)
    return nn.init.kaiming_uniform_(torch.empty(shape), a=math.sqrt(5), generator=rng)


def _start(file: Path, transformer: nn.Module, backend: Backend, rank: int) -> dict[str, Tensor]:
    """The weights to start from.

    Raises:
        BadInput: they don't fit the transformer, or have another rank.
    """
    weights = read(file, transformer, backend)
    ranks = {len(weights[layer + SUFFIXES[0]]) for layer in layers_of(weights)}
    if ranks != {rank}:
        raise BadInput(
            f"train.init={file} has rank {', '.join(map(str, sorted(ranks)))} and train.rank is {rank}; "
            "set both to the same."
        )
    return weights


def read(file: Path, transformer: nn.Module, backend: Backend) -> dict[str, Tensor]:
    """A LoRA's weights by the transformer's own layers, whatever program wrote the file.

    Raises:
        BadInput: it has weights for layers that the transformer lacks or that have another size in it, or can't be
            read.
    """
    linear = {name: layer for name, layer in transformer.named_modules() if isinstance(layer, nn.Linear)}
    weights = read_weights(file, linear, backend.lora_in_diffusers_keys)
    layers = layers_of(weights)
    missing = [layer for layer in layers if layer not in linear]
    unlike = [
        layer
        for layer in layers
        if layer in linear
        and (weights[layer + SUFFIXES[0]].shape[1], weights[layer + SUFFIXES[1]].shape[0])
        != (linear[layer].in_features, linear[layer].out_features)
    ]
    for faulty, what in ((missing, "are missing from"), (unlike, "have another size in")):
        if faulty:
            raise BadInput(
                f"{file} has weights for layers that {what} {type(transformer).__name__}: "
                f"{', '.join(faulty[:LISTED])}; use a LoRA of the same base."
            )
    return weights


def added_up(loras: Sequence[tuple[Mapping[str, Tensor], float]]) -> dict[str, Tensor]:
    """Several LoRAs as one that changes every layer by the sum of their changes.

    Their matrices stand side by side, so that the rank is the sum of theirs; every layer is filled up with zeros to the
    largest rank, since diffusers takes other ranks for other strengths.

    Args:
        loras: weights as `read` returns them, each with its strength.
    """
    layers = sorted({layer for weights, _ in loras for layer in layers_of(weights)})
    found = {}
    for layer in layers:
        a, b = (layer + suffix for suffix in SUFFIXES)
        having = [(weights, strength) for weights, strength in loras if a in weights]
        found[a] = torch.cat([weights[a] for weights, _ in having])
        found[b] = torch.cat([weights[b] * strength for weights, strength in having], dim=1)
    rank = max(len(found[layer + SUFFIXES[0]]) for layer in layers)
    for layer in layers:
        a, b = (layer + suffix for suffix in SUFFIXES)
        missing = rank - len(found[a])
        found[a], found[b] = nn.functional.pad(found[a], (0, 0, 0, missing)), nn.functional.pad(found[b], (0, missing))
    return found


class Average:
    """Exponential moving average of the LoRA's weights, kept beside the raw ones."""

    def __init__(self, weights: Mapping[str, nn.Parameter], decay: float) -> None:
        self.weights, self.decay = weights, decay
        self.tensors = {name: weight.detach().clone() for name, weight in weights.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Includes the weights of a step. The first steps are forgotten sooner, as in diffusers' EMAModel."""
        decay = min(self.decay, (1 + step) / (10 + step))
        mean, raw = list(self.tensors.values()), [weight.data for weight in self.weights.values()]
        torch._foreach_lerp_(mean, raw, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Puts the averaged weights in place of the raw ones in the model."""
        raw = {name: weight.data for name, weight in self.weights.items()}
        for name, weight in self.weights.items():
            weight.data = self.tensors[name]
        try:
            yield
        finally:
            for name, weight in self.weights.items():
                weight.data = raw[name]
