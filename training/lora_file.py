"""A LoRA as a file.

The file has diffusers' keys (`transformer.<layer>.lora_A.weight`, r x in; `lora_B`, out x r), which ComfyUI maps too.
The LoRA's strength is folded into B, so that it is right both with the header (diffusers) and without (ComfyUI ignores
it and takes alpha to equal the rank). `iclora` in the header says what the LoRA is for. `lora_keys` has the styles of
other programs.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Self

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pipeline import families, files, plugins
from pipeline.errors import BadInput
from pipeline.records import Layout
from pipeline.task import LARGEST_CANVAS
from training import conditions, lora_keys
from training.conditions import Condition
from training.config import scaled
from training.handover.header import header_fields
from training.lora_keys import PREFIX, SUFFIXES, Convert

LISTED = 3
"""Keys that an error lists."""
MOST_BYTES = 1 << 32
"""Of a file: four times what rank 128 takes on every linear layer of FLUX.1 in 16 bits."""
FLOATS = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"}
"""Kinds of numbers, by their names in safetensors, that are weights as they stand."""
NAME = re.compile(r"\^?(?:[\w-]|\\?\.)+\$?")
"""A layer's name, or the end of one, as peft's patterns have it: dots may be escaped, the ends be marked."""


CONDITIONS = TypeAdapter(tuple[Condition, ...])


class Card(BaseModel):
    """What a file says about itself: enough to sample with it, and to know what it was made from."""

    model_config = ConfigDict(allow_inf_nan=False)

    iclora: str
    """The toolkit's version."""
    task: str
    layout: Layout
    """At the task's own size."""
    scales: tuple[Annotated[float, Field(gt=0, le=4)], ...] = Field(min_length=1)
    """The scales at which the LoRA has seen grids."""
    prefix: str
    markers: tuple[str, ...]
    condition: tuple[int, ...]
    """Panels that are given, from 1; empty where any or none may be."""
    family: str
    """The base family, by its name in a task file."""
    base: str
    """The base model's name on the hub, or that of a folder."""
    weights: str
    """Which weights of it: a commit or a hash."""
    licence: str
    """The base model's licence, which applies to the LoRA too."""
    data: str
    """Hash of the data that it was trained on."""
    grids: int
    step: int
    averaged: bool
    """Whether these are the averaged weights (EMA) or the raw ones."""
    why: str = ""
    """Why the weights of this step and not those of another."""
    strength: float = 1.0
    """Of the weights as they were trained; it is folded into B."""
    chosen: bool = False
    """Whether an evaluation chose them, in place of those that the training ended with."""
    recipe: dict[str, Any]

    @property
    def commit(self) -> str | None:
        """The commit of a base on the hub, as `Backend.identity` writes it before a slash; None for a folder's."""
        commit, on_hub, _ = self.weights.partition("/")
        return commit if on_hub else None

    @property
    def shown(self) -> Layout:
        """The canvas to draw on: the largest at which the LoRA has seen grids."""
        token = families.load(self.family).token
        return scaled(self.layout, max(self.scales), token, token)

    @field_validator("layout")
    @classmethod
    def _can_be_drawn(cls, layout: Layout) -> Layout:
        if min(layout.rows, layout.cols, layout.panel_width, layout.panel_height) < 1:
            raise ValueError("it has no panels, or panels without an area")
        width, height = layout.canvas
        if width * height > LARGEST_CANVAS:
            raise ValueError(f"its canvas has {width} x {height} pixels, more than {LARGEST_CANVAS:,}")
        return layout

    @field_validator("recipe")
    @classmethod
    def _names_the_mode(cls, recipe: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """Also of files of earlier versions."""
        try:
            found = conditions.upgraded(recipe, named=bool(info.data.get("condition")))
            CONDITIONS.validate_python(found["conditions"])
        except (KeyError, ValidationError) as error:
            raise ValueError("it does not say what was given in its training (conditions)") from error
        return found

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What was given in its training."""
        return CONDITIONS.validate_python(self.recipe["conditions"])

    @model_validator(mode="after")
    def _names_its_own_panels(self) -> Self:
        if foreign := [panel for panel in self.condition if not 1 <= panel <= self.layout.size]:
            raise ValueError(f"condition names panel {foreign[0]}, and its grids have {self.layout.size}")
        return self


class Adapter(BaseModel):
    """What diffusers writes into the header about a LoRA's strength. Ranks are those of the tensors."""

    model_config = ConfigDict(alias_generator=PREFIX.__add__, allow_inf_nan=False)

    lora_alpha: float | None = None
    """Without it alpha is the rank, which is a strength of 1."""
    alpha_pattern: dict[str, float] = {}
    """By the name of a layer or the end of one. peft takes them for regular expressions, which could be made to have no
    end; diffusers writes nothing but names."""
    use_rslora: bool = False
    use_dora: bool = False
    target_modules: list[str] | str = []

    @field_validator("alpha_pattern")
    @classmethod
    def _are_names(cls, patterns: dict[str, float]) -> dict[str, float]:
        for pattern in patterns:
            if not NAME.fullmatch(pattern):
                raise ValueError(f"{pattern[:60]!r} is not the name of a layer")
        return patterns

    def strengths(self, ranks: Mapping[str, int]) -> dict[str, float]:
        """The factor of each layer's B, by peft's rules.

        Args:
            ranks: by layer.
        """
        alphas: dict[str, tuple[int, float]] = {}  # each with its place, since the first that fits counts
        for place, (pattern, alpha) in enumerate(self.alpha_pattern.items()):
            alphas.setdefault(pattern.removesuffix("$").replace("\\.", "."), (place, alpha))
        found = {}
        for layer, rank in ranks.items():
            parts = layer.split(".")
            names = [f"^{layer}", *(".".join(parts[start:]) for start in range(len(parts)))]
            fitting = [alphas[name] for name in names if name in alphas]
            alpha_of_layer = min(fitting)[1] if fitting else self.lora_alpha
            by = math.sqrt(rank) if self.use_rslora else rank
            found[layer] = 1.0 if alpha_of_layer is None else alpha_of_layer / by
        return found


def write(
    path: Path,
    weights: Mapping[str, Tensor],
    strength: float,
    card: Card,
    *,
    thumbnail: bytes = b"",
    dtype: torch.dtype = torch.float32,
) -> None:
    """Writes a file whole or not at all; the same weights and card give the same bytes.

    Args:
        weights: by layer, as `lora.attach` names them.
        strength: alpha / rank of the training; B is multiplied by it.
        thumbnail: a small JPEG of what the LoRA draws, for programs that manage LoRAs.

    Raises:
        BadInput: a weight is beyond the numbers of `dtype`.
    """
    from peft import LoraConfig

    folded = {
        PREFIX + name: _stored(weight * strength if name.endswith(SUFFIXES[1]) else weight, dtype)
        for name, weight in weights.items()
    }
    if beyond := [name for name, weight in folded.items() if not weight.isfinite().all()]:
        raise BadInput(f"{path} can't hold the weights of {beyond[0]} as {dtype}; use bf16 or fp32.")
    rank = next(weight.shape[0] for name, weight in weights.items() if name.endswith(SUFFIXES[0]))
    layers = sorted(name.removesuffix(SUFFIXES[0]) for name in weights if name.endswith(SUFFIXES[0]))
    adapter = LoraConfig(r=rank, lora_alpha=rank, target_modules=layers).to_dict()  # type: ignore[no-untyped-call]
    named = {PREFIX + key: sorted(value) if isinstance(value, set) else value for key, value in adapter.items()}
    content = save(folded)
    metadata = {
        "format": "pt",
        "lora_adapter_metadata": json.dumps(named, sort_keys=True),
        "iclora": card.model_dump_json(),
        **header_fields(card, rank, _digest(content), thumbnail),
    }
    files.write(path, _with_metadata(content, metadata))  # not save_file, whose files only their owner may read


def _stored(weight: Tensor, dtype: torch.dtype) -> Tensor:
    return weight.detach().to("cpu", dtype).contiguous()


def _digest(content: bytes) -> str:
    """SHA-256 of the tensors of a safetensors file, whatever its header says."""
    return hashlib.sha256(memoryview(content)[8 + int.from_bytes(content[:8], "little") :]).hexdigest()


def digest_of(path: Path) -> str:
    """SHA-256 of a file's tensors: the same for the same weights, whatever is said of them."""
    return _digest(path.read_bytes())


def _with_metadata(content: bytes, metadata: Mapping[str, str]) -> bytes:
    """A safetensors file with these metadata, and the keys of its header sorted: safetensors itself writes them in
    random order.

    The format: eight bytes with the length of the header, the header as JSON padded with spaces to a multiple of
    eight, then the tensors (https://huggingface.co/docs/safetensors).
    """
    start = 8 + int.from_bytes(content[:8], "little")
    entries = {**json.loads(content[8:start]), "__metadata__": metadata}
    header = json.dumps(entries, sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[start:]


def find_card(path: Path) -> Card | None:
    """What a file written by iclora says about itself; None for a file of another program.

    Raises:
        BadInput: it is not a LoRA file, or its description is damaged.
    """
    with _opened(path) as file:
        header = file.metadata() or {}
    if "iclora" not in header:
        return None
    try:
        return Card.model_validate_json(header["iclora"])
    except ValidationError as error:
        raise BadInput(
            f"{path} has a damaged description of how to use it ({plugins.faults_of(error)}); use the file as iclora "
            "wrote it."
        ) from error


def layers_of(weights: Mapping[str, Tensor]) -> list[str]:
    """The layers that weights belong to, sorted."""
    return sorted(key.removesuffix(SUFFIXES[0]) for key in weights if key.endswith(SUFFIXES[0]))


def read_weights(path: Path, known: Collection[str] = (), convert: Convert | None = None) -> dict[str, Tensor]:
    """The weights of a LoRA file, by layer as diffusers names it, A and B, with the file's strength folded into B.

    The published In-Context LoRAs have diffusers' keys, `transformer.` before every key, and no alpha (it was the
    rank). Others give alpha in their header, as diffusers does, or as a tensor per layer.

    Args:
        known: the base's linear layers. A file that names others is converted first.
        convert: renames the tensors of a trainer that names layers in its own way to diffusers' keys.

    Raises:
        BadInput: keys of an unknown style, more than A and B, or a tensor that is missing, not finite or of a shape
            that doesn't fit its partner.
    """
    with _opened(path) as file:
        header, keys = file.metadata() or {}, sorted(file.keys())
        adapter = _adapter(path, header)
        _check_keys(path, keys, adapter)  # before anything is loaded: it may be a whole model
        if odd := sorted({file.get_slice(key).get_dtype() for key in keys} - FLOATS):
            raise BadInput(f"{path} has numbers of the kind {', '.join(odd)}; use a LoRA in 16 or 32 bits.")
        read = {key: file.get_tensor(key).float() for key in keys}
    try:
        tensors = lora_keys.in_diffusers_style(read, known, convert)
    except ValueError as error:
        raise BadInput(f"{path} {error}.") from error
    alphas = {key.removesuffix(".alpha"): value for key, value in tensors.items() if key.endswith(".alpha")}
    weights = {key: value for key, value in tensors.items() if not key.endswith(".alpha")}
    layers = {key.removesuffix(suffix) for key in weights for suffix in SUFFIXES if key.endswith(suffix)}
    if "iclora" in header:  # ours names every layer in full; other programs may name layers that the model lacks
        layers |= {PREFIX + layer for layer in adapter.target_modules}
    if faults := _faults(weights, alphas, layers):
        raise BadInput(f"{path} {'; '.join(faults[:LISTED])}; use an undamaged file.")
    ranks = {layer.removeprefix(PREFIX): len(weights[layer + SUFFIXES[0]]) for layer in layers}
    for layer, usual in adapter.strengths(ranks).items():
        full = PREFIX + layer
        strength = float(alphas[full]) / ranks[layer] if full in alphas else usual
        if not weights[full + SUFFIXES[1]].mul_(strength).isfinite().all():
            raise BadInput(
                f"{path} has a strength of {strength:g} for {full}, which is beyond all numbers; use another."
            )
    return {key.removeprefix(PREFIX): value for key, value in weights.items()}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """
    Raises:
        BadInput: it is no safetensors file.
    """
    try:
        files.open_regular(path, MOST_BYTES).close()  # safetensors itself would wait for a pipe
        with safe_open(path, "pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        why = error.strerror if isinstance(error, OSError) else ""
        raise BadInput(f"{path} can't be read as a LoRA file ({why or error}).") from error


def _adapter(path: Path, header: Mapping[str, str]) -> Adapter:
    try:
        return Adapter.model_validate_json(header.get("lora_adapter_metadata", "{}"))
    except ValidationError as error:
        raise BadInput(
            f"{path} has an unusable strength in its header ({plugins.faults_of(error)}); save it again with diffusers."
        ) from error


def _check_keys(path: Path, keys: Sequence[str], adapter: Adapter) -> None:
    """
    Raises:
        BadInput: the file is of another kind.
    """
    if adapter.use_dora or any("lora_magnitude_vector" in key for key in keys):
        raise BadInput(f"{path} is a DoRA, which has more than two matrices per layer; use a plain LoRA.")
    if foreign := [key for key in keys if not lora_keys.is_known(key)]:
        raise BadInput(
            f"{path} has keys that are no plain LoRA's ({', '.join(foreign[:LISTED])}), which read for example "
            f"'{PREFIX}LAYER{SUFFIXES[0]}'; use a LoRA of two matrices per layer."
        )


def _faults(weights: Mapping[str, Tensor], alphas: Mapping[str, Tensor], layers: Iterable[str]) -> list[str]:
    """Signs that a file is damaged; empty for a whole one."""
    missing = sorted({layer + suffix for layer in layers for suffix in SUFFIXES} - weights.keys())
    if missing or not weights:
        return [f"lacks {', '.join(missing[:LISTED])}" if missing else "has no weights"]
    faults = []
    for layer in sorted(layers):
        a, b = (weights[layer + suffix] for suffix in SUFFIXES)
        alpha = alphas.get(layer, torch.ones(()))
        if (a.ndim, b.ndim, alpha.numel()) != (2, 2, 1) or not len(a) == b.shape[1] > 0:
            faults.append(f"has tensors for {layer} whose shapes don't match")
        elif not all(part.isfinite().all() for part in (a, b, alpha)):
            faults.append(f"has NaN or infinity in {layer}")
    return faults
