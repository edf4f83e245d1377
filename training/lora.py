"""The LoRA: where it sits in a transformer, its average, and its file.

The file has diffusers' keys (`transformer.<layer>.lora_A.weight`, r x in; `lora_B`, out x r), which ComfyUI maps too.
Its strength is folded into B, so that it is right with a header (diffusers) and without (ComfyUI reads none and takes
alpha for the rank). `iclora` in the header says what it is for.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from pipeline.errors import BadInput
from pipeline.records import Layout
from training.config import Config
from training.draws import generator

PREFIX = "transformer."
SUFFIXES = (".lora_A.weight", ".lora_B.weight")
NAMED = 3
"""Keys that an error names."""


class Card(BaseModel):
    """What a file tells of itself: enough to draw with it, and to know what it was made from."""

    iclora: str
    """The toolkit's version."""
    task: str
    layout: Layout
    """At the task's own size."""
    scales: tuple[float, ...]
    """At which shares of it the LoRA has seen grids."""
    prefix: str
    markers: tuple[str, ...]
    condition: tuple[int, ...]
    """Panels that are given, from 1; empty where any or none may be."""
    family: str
    """The base's, by its name in a task file."""
    base: str
    """The base model's name on the hub, or that of a folder."""
    weights: str
    """Which weights of it: a commit or a hash."""
    licence: str
    """The base model's, under which the LoRA falls too."""
    data: str
    """Hash of the grids and captions that it was trained on."""
    grids: int
    step: int
    averaged: bool
    """Whether these are the averaged weights (EMA) or the raw ones."""
    recipe: dict[str, Any]


# ---- in the transformer


def attach(transformer: Any, targets: str, config: Config) -> dict[str, nn.Parameter]:
    """Puts a LoRA on the layers whose whole names fit a pattern; returns its weights by layer, A and B.

    The weights are float32 whatever the base's numbers are: in bfloat16 a step of 1e-4 leaves most of them as they
    were. B is zero, so that the model starts as its base, or what `init` says.

    Raises:
        BadInput: the file to start from doesn't fit.
    """
    from peft import LoraConfig

    start = read_weights(Path(config.init), config.rank) if config.init else {}
    if start:
        targets = "|".join(re.escape(layer) for layer in _layers(start, transformer, config))
    with torch.random.fork_rng(devices=[]):  # peft draws too, and rounds to the base's numbers
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
    """An A to begin with, as peft draws it (He et al. 2015, arXiv 1502.01852), from seed and name alone."""
    chance = generator(seed, "lora", name)
    return nn.init.kaiming_uniform_(torch.empty(shape), a=math.sqrt(5), generator=chance)


def _layers(start: Mapping[str, Tensor], transformer: nn.Module, config: Config) -> list[str]:
    """The layers that a file to start from has weights for.

    Raises:
        BadInput: the transformer has no such layers, or they are of another size.
    """
    linear = {name: layer for name, layer in transformer.named_modules() if isinstance(layer, nn.Linear)}
    layers = sorted(key.removesuffix(SUFFIXES[0]) for key in start if key.endswith(SUFFIXES[0]))
    lacking = [layer for layer in layers if layer not in linear]
    other = [
        layer
        for layer in layers
        if layer in linear
        and (start[layer + SUFFIXES[0]].shape[-1], start[layer + SUFFIXES[1]].shape[0])
        != (linear[layer].in_features, linear[layer].out_features)
    ]
    for faulty, what in ((lacking, "lacks"), (other, "has of another size")):
        if faulty:
            raise BadInput(
                f"train.init={config.init} has weights for layers that {type(transformer).__name__} {what}: "
                f"{', '.join(faulty[:NAMED])}; name a LoRA of the same base."
            )
    return layers


class Average:
    """Exponential moving average of the LoRA's weights, kept beside the raw ones."""

    def __init__(self, weights: Mapping[str, nn.Parameter], decay: float) -> None:
        self.weights, self.decay = weights, decay
        self.tensors = {name: weight.detach().clone() for name, weight in weights.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes the weights of a step in. The first steps are forgotten sooner, as in diffusers' EMAModel."""
        decay = min(self.decay, (1 + step) / (10 + step))
        mean, raw = list(self.tensors.values()), [weight.data for weight in self.weights.values()]
        torch._foreach_lerp_(mean, raw, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The averaged weights in the model's place of the raw ones."""
        raw = {name: weight.data for name, weight in self.weights.items()}
        for name, weight in self.weights.items():
            weight.data = self.tensors[name]
        try:
            yield
        finally:
            for name, weight in self.weights.items():
                weight.data = raw[name]


# ---- as a file


def write(path: Path, weights: Mapping[str, Tensor], strength: float, card: Card) -> None:
    """Writes a file whole or not at all.

    Args:
        weights: by layer, as `attach` names them.
        strength: alpha / rank of the training; B is multiplied by it.
    """
    from peft import LoraConfig

    folded = {
        PREFIX + name: (weight * strength if name.endswith(SUFFIXES[1]) else weight).detach().float().cpu().contiguous()
        for name, weight in weights.items()
    }
    rank = next(weight.shape[0] for name, weight in weights.items() if name.endswith(SUFFIXES[0]))
    layers = sorted(name.removesuffix(SUFFIXES[0]) for name in weights if name.endswith(SUFFIXES[0]))
    adapter = LoraConfig(r=rank, lora_alpha=rank, target_modules=layers).to_dict()  # type: ignore[no-untyped-call]
    told = {PREFIX + key: sorted(value) if isinstance(value, set) else value for key, value in adapter.items()}
    header = {
        "format": "pt",
        "lora_adapter_metadata": json.dumps(told, sort_keys=True),
        "iclora": card.model_dump_json(),
    }
    part = path.with_suffix(".part")
    part.write_bytes(save(folded, metadata=header))  # not save_file, whose files only their owner may read
    part.replace(path)


def read_card(path: Path) -> Card:
    """What a file of ours tells of itself.

    Raises:
        BadInput: it is no LoRA file, or none of ours.
    """
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
        return Card.model_validate_json(header["iclora"])
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{path} is no LoRA file that can be read ({error}).") from error
    except (KeyError, ValidationError) as error:
        raise BadInput(f"{path} was not made by iclora, so it does not say for which task and layout it is.") from error


def read_weights(path: Path, rank: int) -> dict[str, Tensor]:
    """The weights of any file with diffusers' keys, by layer, A and B, with its strength folded into B.

    The published In-Context LoRAs are such files: `transformer.` before every key, and no alpha (it was the rank).
    Others tell it in their header, as diffusers does, or with a tensor for every layer.

    Raises:
        BadInput: other keys, another rank, or one of a layer's two tensors is not there.
    """
    try:
        with safe_open(path, "pt") as file:
            told = json.loads((file.metadata() or {}).get("lora_adapter_metadata", "{}"))
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118  (it is no dict)
    except (OSError, ValueError, SafetensorError) as error:
        raise BadInput(f"train.init={path} is no LoRA file that can be read ({error}).") from error
    alphas = {key.removesuffix(".alpha"): float(value) for key, value in tensors.items() if key.endswith(".alpha")}
    weights = {key: value for key, value in tensors.items() if not key.endswith(".alpha")}
    if foreign := sorted(key for key in weights if not (key.startswith(PREFIX) and key.endswith(SUFFIXES))):
        raise BadInput(
            f"train.init={path} has keys of another style ({', '.join(foreign[:NAMED])}); those of diffusers read "
            f"'{PREFIX}LAYER{SUFFIXES[0]}'. Convert it with diffusers: load_lora_weights, then save_lora_weights."
        )
    layers = {key.removesuffix(suffix) for key in weights for suffix in SUFFIXES if key.endswith(suffix)}
    if lacking := sorted({layer + suffix for layer in layers for suffix in SUFFIXES} - set(weights)):
        raise BadInput(f"train.init={path} lacks {', '.join(lacking[:NAMED])}; give a whole file.")
    if not weights:
        raise BadInput(f"train.init={path} has no weights; give a whole file.")
    ranks = {value.shape[0] for key, value in weights.items() if key.endswith(SUFFIXES[0])}
    if ranks != {rank}:
        raise BadInput(
            f"train.init={path} has rank {', '.join(map(str, sorted(ranks)))} and train.rank is {rank}; "
            "give both the same."
        )
    usual = told.get(f"{PREFIX}lora_alpha", rank)
    strengths = {layer + SUFFIXES[1]: alphas.get(layer, usual) / rank for layer in layers}
    return {key.removeprefix(PREFIX): value * strengths.get(key, 1.0) for key, value in weights.items()}
