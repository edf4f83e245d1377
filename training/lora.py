"""The LoRA: where it sits in a transformer, its average, and its file.

The file has diffusers' keys (`transformer.<layer>.lora_A.weight`, r x in; `lora_B`, out x r), which ComfyUI maps too.
Its strength is folded into B, so that it is right with a header (diffusers) and without (ComfyUI reads none and takes
alpha for the rank). `iclora` in the header says what it is for.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from pipeline import plugins
from pipeline.errors import BadInput
from pipeline.records import Layout
from training.config import Config
from training.random_streams import generator

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
    scales: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=1)
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

    @field_validator("recipe")
    @classmethod
    def _tells_the_mode(cls, recipe: dict[str, Any]) -> dict[str, Any]:
        if "conditional" not in recipe:
            raise ValueError("it does not say whether given panels were kept clean (conditional)")
        return recipe


class Adapter(BaseModel):
    """What diffusers writes of a file's strength into its header. Ranks are those of the tensors."""

    model_config = ConfigDict(alias_generator=PREFIX.__add__, allow_inf_nan=False)

    lora_alpha: float | None = None
    """Without it the rank, which is a strength of 1."""
    alpha_pattern: dict[str, float] = {}
    """For layers whose names end in a pattern."""
    use_rslora: bool = False
    use_dora: bool = False
    target_modules: list[str] | str = []

    def strength(self, layer: str, rank: int) -> float:
        """What B counts, by peft's rules."""
        from peft.utils.other import get_pattern_key

        alpha = self.alpha_pattern.get(get_pattern_key(list(self.alpha_pattern), layer), self.lora_alpha)
        if alpha is None:
            return 1.0
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)


# ---- in the transformer


def attach(transformer: Any, targets: str, config: Config) -> dict[str, nn.Parameter]:
    """Puts a LoRA on the layers whose whole names fit a pattern; returns its weights by layer, A and B.

    The weights are float32 whatever the base's numbers are: in bfloat16 a step of 1e-4 leaves most of them as they
    were. B is zero, so that the model starts as its base, or what `init` says.

    Raises:
        BadInput: the file to start from doesn't fit.
    """
    from peft import LoraConfig

    start = _start(Path(config.init), transformer, config.rank) if config.init else {}
    if start:
        targets = "|".join(re.escape(layer) for layer in layers_of(start))
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


def _start(file: Path, transformer: nn.Module, rank: int) -> dict[str, Tensor]:
    """The weights to start from.

    Raises:
        BadInput: they don't fit the transformer, or are of another rank.
    """
    weights = read_weights(file)
    check_fit(file, weights, transformer)
    ranks = {len(weights[layer + SUFFIXES[0]]) for layer in layers_of(weights)}
    if ranks != {rank}:
        raise BadInput(
            f"train.init={file} has rank {', '.join(map(str, sorted(ranks)))} and train.rank is {rank}; "
            "give both the same."
        )
    return weights


def check_fit(file: Path, weights: Mapping[str, Tensor], transformer: nn.Module) -> None:
    """Refuses a file's weights for layers that the transformer lacks or has of another size.

    Raises:
        BadInput: naming the first of them.
    """
    linear = {name: layer for name, layer in transformer.named_modules() if isinstance(layer, nn.Linear)}
    layers = layers_of(weights)
    lacking = [layer for layer in layers if layer not in linear]
    other = [
        layer
        for layer in layers
        if layer in linear
        and (weights[layer + SUFFIXES[0]].shape[1], weights[layer + SUFFIXES[1]].shape[0])
        != (linear[layer].in_features, linear[layer].out_features)
    ]
    for faulty, what in ((lacking, "lacks"), (other, "has of another size")):
        if faulty:
            raise BadInput(
                f"{file} has weights for layers that {type(transformer).__name__} {what}: "
                f"{', '.join(faulty[:NAMED])}; name a LoRA of the same base."
            )


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
    except KeyError as error:
        raise BadInput(f"{path} was not made by iclora, so it does not say for which task and layout it is.") from error
    except ValidationError as error:
        raise BadInput(
            f"{path} does not say rightly how it is drawn with ({plugins.faults_of(error)}); give the file as iclora "
            "wrote it."
        ) from error


def layers_of(weights: Mapping[str, Tensor]) -> list[str]:
    """The layers that `read_weights` has found weights for, sorted."""
    return sorted(key.removesuffix(SUFFIXES[0]) for key in weights if key.endswith(SUFFIXES[0]))


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights of any file with diffusers' keys, by layer, A and B, with its strength folded into B.

    The published In-Context LoRAs are such files: `transformer.` before every key, and no alpha (it was the rank).
    Others tell it in their header, as diffusers does, or with a tensor for every layer.

    Raises:
        BadInput: other keys, more than A and B, or a tensor that is not there, no number or no partner of its twin.
    """
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118  (it is no dict)
        adapter = Adapter.model_validate_json(header.get("lora_adapter_metadata", "{}"))
    except ValidationError as error:
        raise BadInput(
            f"{path} does not say rightly how strong it is ({plugins.faults_of(error)}); save it anew with diffusers."
        ) from error
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{path} is no LoRA file that can be read ({error}).") from error
    if adapter.use_dora or any("lora_magnitude_vector" in key for key in tensors):
        raise BadInput(f"{path} is a DoRA, which is more than two matrices a layer; give a plain LoRA.")
    alphas = {key.removesuffix(".alpha"): value for key, value in tensors.items() if key.endswith(".alpha")}
    weights = {key: value for key, value in tensors.items() if not key.endswith(".alpha")}
    if foreign := sorted(key for key in weights if not (key.startswith(PREFIX) and key.endswith(SUFFIXES))):
        raise BadInput(
            f"{path} has keys of another style ({', '.join(foreign[:NAMED])}); those of diffusers read "
            f"'{PREFIX}LAYER{SUFFIXES[0]}'. Convert it with diffusers: load_lora_weights, then save_lora_weights."
        )
    layers = {key.removesuffix(suffix) for key in weights for suffix in SUFFIXES if key.endswith(suffix)}
    if "iclora" in header:  # ours names every layer whole, others may name what the model lacks
        layers |= {PREFIX + layer for layer in adapter.target_modules}
    if faults := _faults(weights, alphas, layers):
        raise BadInput(f"{path} {'; '.join(faults[:NAMED])}; give a whole file.")
    for layer in layers:
        b, rank = weights[layer + SUFFIXES[1]], len(weights[layer + SUFFIXES[0]])
        usual = adapter.strength(layer.removeprefix(PREFIX), rank)
        b *= float(alphas[layer]) / rank if layer in alphas else usual
    return {key.removeprefix(PREFIX): value for key, value in weights.items()}


def _faults(weights: Mapping[str, Tensor], alphas: Mapping[str, Tensor], layers: Iterable[str]) -> list[str]:
    """What tells that a file is damaged; empty for a whole one."""
    lacking = sorted({layer + suffix for layer in layers for suffix in SUFFIXES} - weights.keys())
    if lacking or not weights:
        return [f"lacks {', '.join(lacking[:NAMED])}" if lacking else "has no weights"]
    faults = []
    for layer in sorted(layers):
        a, b = (weights[layer + suffix] for suffix in SUFFIXES)
        alpha = alphas.get(layer, torch.ones(()))
        if (a.ndim, b.ndim, alpha.numel()) != (2, 2, 1) or not len(a) == b.shape[1] > 0:
            faults.append(f"has tensors for {layer} that don't go together")
        elif not all(part.isfinite().all() for part in (a, b, alpha)):
            faults.append(f"has what is no number in {layer}")
    return faults
