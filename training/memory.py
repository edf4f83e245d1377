"""The memory that a training takes on its device, phase by phase, worked out from shapes before weights are loaded.

Every term errs on the high side, by little. What the allocator holds beyond what is in use, and what cuDNN takes for
itself, is not foreseen. `bench/gpu.py` measures all of it where there is a GPU; none has been available here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from training import machine
from training.allocation import Peak
from training.backends.base import Backend
from training.config import Config
from training.model_files import parameter_count

GIB = machine.GIB
CONTEXT = GIB / 2
"""What a process holds on a GPU before its first tensor: 0.7 GiB where all kernels are loaded at once
(discuss.pytorch.org/t/73021), less since CUDA loads them when they are first called (12.2), and 32 MiB for cuBLAS."""
STATE = {"adamw": 8.0, "adamw8bit": 2 + 2 * 4 / 256}
"""Bytes of optimizer state per weight. bitsandbytes keeps one 32-bit maximum per 256 values of either moment."""
SINGLE = 4
"""Bytes of a number in 32 bits."""
GATED = 1.5
"""Wide layers whose outputs are more than so many times what the narrow one reads have a gate among them."""
NF4_BLOCK = 64
"""Weights that share a 32-bit maximum in bitsandbytes' nf4, without a second quantization of these (blocksize of
quantize_4bit; compress_statistics is off in diffusers)."""
NF4_CODES = 16 * 4
"""Bytes of a layer's table of the 16 values."""
TEXT = 0.2 * GIB
"""What one text takes while it is read: 512 tokens' attention scores in T5, or the states of a Qwen3's 36 layers."""
TWO_STREAMS = re.compile(r"(?:^|\.)(?:\w*_context|add_[qkv]_proj|to_add_out|norm_added_[qk]|txt_\w+)(?:\.|$)")
"""Names of what sees only the text in blocks with layers of their own for it: those of FLUX, SD3 and Qwen-Image."""
KEYS_AND_VALUES = re.compile(r"(?:to_[kv]|add_[kv]_proj)$")
OUTPUT = re.compile(r"(?:to_out|to_out\.0|to_add_out)$")
"""Layers that read the same as those for the queries, and those that read attention's output."""


@dataclass(frozen=True)
class Phase:
    """What is in memory at once at a phase's peak, in bytes by what takes it."""

    name: str
    parts: Mapping[str, float]

    @property
    def total(self) -> float:
        return sum(self.parts.values())


@dataclass(frozen=True)
class Sight:
    """What goes through the transformer at once."""

    image: int
    """Tokens of one grid's canvas and its reference images."""
    text: int
    """Tokens of its text, as many as are read at most."""
    together: int
    """Grids."""
    canvas: tuple[int, int]
    """The largest, width and height in pixels."""

    @property
    def tokens(self) -> int:
        """Of one grid."""
        return self.image + self.text


@dataclass(frozen=True)
class Lora:
    """What is trained."""

    layers: frozenset[str]
    """Names of the linear layers that it is on."""
    rank: int
    size: int
    """Parameters."""


def phases(backend: Backend, config: Config, lora: Lora, sight: Sight, device: torch.device) -> tuple[Phase, ...]:
    """What each phase takes on the device, in their order; text encoders and VAE are freed after use."""
    context = {"context": CONTEXT} if device.type == "cuda" else {}
    precision = machine.encoder_dtype(device)
    encode, decode = vae_peaks(backend, sight.canvas, precision)
    vae = precision.itemsize * backend.count("vae")
    base, copies = _base(backend, config, device)
    kept = base | {"LoRA, optimizer, average": lora.size * (4 + STATE[config.optimizer] + 4)}
    one = activations(backend, config, lora, sight, device)
    encoders = precision.itemsize * sum(backend.count(part) for part in backend.ENCODERS)
    return (
        Phase("reading texts", context | {"text encoders": encoders, "one text": TEXT}),
        Phase("encoding pictures", context | {"VAE": vae, "one picture": encode}),
        Phase("training", context | kept | copies | {"gradient": lora.size * 4.0, "activations": one}),
        # A grid is decoded when the transformer is done, whose working memory is less than that of a training step.
        Phase("drawing samples", context | kept | {"VAE": vae, "one grid": decode}),
    )


# ---- the VAE


_VAE_PEAKS: dict[tuple[object, ...], tuple[int, int]] = {}


def vae_peaks(backend: Backend, canvas: tuple[int, int], dtype: torch.dtype) -> tuple[int, int]:
    """Bytes that encoding and decoding one canvas take beside the VAE's weights; equal VAEs are counted once."""
    config = json.dumps(dict(backend.config("vae")), sort_keys=True, default=str)
    key = (type(backend), config, canvas, dtype)
    if key not in _VAE_PEAKS:
        _VAE_PEAKS[key] = _count_vae(backend, canvas, dtype)
    return _VAE_PEAKS[key]


def _count_vae(backend: Backend, canvas: tuple[int, int], dtype: torch.dtype) -> tuple[int, int]:
    """The same, counted on tensors without data."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    width, height = canvas
    usual = torch.get_default_dtype()
    with FakeTensorMode(allow_non_fake_inputs=True):  # constants of a family are real
        torch.set_default_dtype(dtype)
        try:
            vae = backend.blank("vae", "cpu")
        finally:
            torch.set_default_dtype(usual)
        vae.eval().requires_grad_(False)
        pixels, latents = torch.zeros(1, 3, height, width), torch.zeros(1, *backend.latent_shape(canvas))
        with Peak() as encoding:
            backend.encode_image(vae, pixels)
        with Peak() as decoding:
            backend.decode_image(vae, latents)
    return encoding.most, decoding.most


# ---- the base


def _base(backend: Backend, config: Config, device: torch.device) -> tuple[dict[str, float], dict[str, float]]:
    """The base's weights by where they are, and what is copied of them to compute."""
    kind = machine.weights_format(config, device)
    sizes = weight_sizes(backend, kind)
    # Offloaded, the block that computes and the next: in the backward pass one is freed while another is recomputed.
    resident = sizes.rest + (2 * max(sizes.blocks) if config.offload else sum(sizes.blocks))
    copies = 0.0
    if kind in {"int8", "nf4"}:  # a layer's weights in 16 bits, for one product at a time
        copies = 2.0 * sizes.largest_layer
    elif kind == "fp8":  # autograd keeps a block's weights as they were computed with: of one block, or of all
        again = machine.recomputes(config, _blank(backend))
        copies = 2.0 * (max(sizes.weights) if again else sum(sizes.weights))
    return {"base": resident}, {"base as it computes": copies} if copies else {}


@dataclass(frozen=True)
class Sizes:
    """A transformer's weights."""

    blocks: Sequence[float]
    """Bytes of every block as stored."""
    weights: Sequence[int]
    """Parameters of every block."""
    rest: float
    """Bytes outside of the blocks."""
    largest_layer: int
    """Weights of the largest linear layer."""


@lru_cache(maxsize=2)
def _blank(backend: Backend) -> nn.Module:
    return backend.blank("transformer")


@lru_cache(maxsize=16)
def weight_sizes(backend: Backend, kind: str) -> Sizes:
    """How large a base is when it is held as a setting says.

    Args:
        kind: fp32, bf16, fp8, int8 or nf4.
    """
    transformer: Any = backend.blank("transformer")
    linear = [layer for layer in transformer.modules() if isinstance(layer, nn.Linear)]
    if kind in {"fp32", "bf16"}:
        sizes = {weight: weight.numel() * (4.0 if kind == "fp32" else 2.0) for weight in transformer.parameters()}
    elif kind == "fp8":
        # diffusers' own rule says what stays in 16 bits, such as everything with "norm" in its name.
        for weight in transformer.parameters():
            weight.data = weight.data.to(torch.bfloat16)
        machine.cast_layers(transformer, torch.bfloat16)
        sizes = {weight: float(weight.numel() * weight.element_size()) for weight in transformer.parameters()}
    else:
        sizes = {weight: 2.0 * weight.numel() for weight in transformer.parameters()}
        for layer in linear:  # diffusers gives bitsandbytes all of them
            sizes[layer.weight] = _quantized(layer, kind)
    blocks = backend.blocks(transformer)
    inside = [sum(sizes[weight] for weight in block.parameters()) for block in blocks]
    return Sizes(
        blocks=inside,
        weights=[parameter_count(block) for block in blocks],
        rest=sum(sizes.values()) - sum(inside),
        largest_layer=max(layer.weight.numel() for layer in linear),
    )


def _quantized(layer: nn.Linear, kind: str) -> float:
    weights = layer.weight.numel()
    if kind == "int8":
        return weights + 4 * layer.out_features  # a 32-bit maximum per row
    return weights / 2 + 4 * weights / NF4_BLOCK + NF4_CODES


# ---- activations


def activations(backend: Backend, config: Config, lora: Lora, sight: Sight, device: torch.device) -> float:
    """Bytes that a training step's forward and backward pass hold at their peak, beside weights and gradients.

    Autograd keeps what the backward pass reads; with recomputation that is the input of every block, and everything
    only of the block that is recomputed. Blocks without a LoRA before the first with one keep nothing.
    """
    transformer = _blank(backend)
    mixed = device.type == "cuda" and machine.base_dtype(config, device) != torch.float32
    size = machine.base_dtype(config, device).itemsize
    width = backend.width(transformer)
    named = {id(module): name for name, module in transformer.named_modules()}
    inside = [
        _Block(named[id(block)], block, width, lora, SINGLE if mixed else size, size)
        for block in backend.blocks(transformer)
    ]
    learning = [block for block in inside if block.layers]
    kept = [block.stored(sight) for block in learning]
    passing = max(block.passing(sight) for block in learning)
    if machine.recomputes(config, transformer):
        inputs = len(learning) * sight.tokens * width * size
        return sight.together * (inputs + max(kept) + passing)
    return sight.together * (sum(kept) + passing)


@dataclass(frozen=True)
class _Block:
    """One block's share in the activations; bytes for one grid."""

    name: str
    block: nn.Module
    width: int
    lora: Lora
    of_norm: int
    """Bytes per number that goes into a norm; under autocast a copy in 32 bits."""
    size: int
    """Bytes per number elsewhere."""

    @property
    def layers(self) -> dict[str, nn.Linear]:
        """Linear layers of the tokens, by their names within the block; they are those with a LoRA."""
        return {
            name: layer
            for name, layer in self.block.named_modules()
            if isinstance(layer, nn.Linear) and f"{self.name}.{name}" in self.lora.layers
        }

    def stored(self, sight: Sight) -> float:
        """What autograd keeps of the block: for every token, numbers times the bytes of one."""
        return sum(_seen(name, self.layers, sight) * numbers * size for name, numbers, size in self._kept())

    def _kept(self) -> Iterator[tuple[str, int, int]]:
        """Names of modules with what is kept of them per token: numbers, and bytes of each.

        The input of every layer (for the gradient of the LoRA's A) and what A makes of it. Outputs that attention or an
        activation function reads. Attention's output, which in most blocks is the next layer's input. The input of
        norms. Modulation by frozen layers keeps only a vector.
        """
        mixed = self.of_norm != self.size
        for name, layer in self.layers.items():
            # Under autocast norms return 32 bits, of which queries, keys and values have a copy each.
            alone = mixed or not KEYS_AND_VALUES.search(name)
            yield name, layer.in_features * alone + self.lora.rank, self.size
            if layer.out_features >= layer.in_features or KEYS_AND_VALUES.search(name):
                yield name, layer.out_features * (not OUTPUT.search(name)), self.size
        for name, numbers in self._gates():
            yield name, numbers, self.size
        if not any(OUTPUT.search(name) and layer.in_features == self.width for name, layer in self.layers.items()):
            yield "", self.width, self.size
        for name, module in self.block.named_modules():
            kind = type(module).__name__
            if kind.endswith("Norm") and not any(module.children()):
                yield name, self.width, self.of_norm
                if "RMS" in kind and self.size < SINGLE:  # it multiplies what it was given by what it finds in 32 bits
                    yield name, self.width, self.size + SINGLE - self.of_norm

    def _gates(self) -> list[tuple[str, int]]:
        """Products of gated activation functions."""
        wide = {name: one for name, one in self.layers.items() if one.out_features > one.in_features}
        narrow = {name: one for name, one in self.layers.items() if one.out_features < one.in_features}
        return [
            (down, layer.in_features)
            for down, layer in narrow.items()
            if not KEYS_AND_VALUES.search(down)  # which are narrow where heads share them
            and sum(one.out_features for up, one in wide.items() if _is_of_text(up) == _is_of_text(down))
            > GATED * layer.in_features
        ]

    def passing(self, sight: Sight) -> float:
        """What passes through the backward pass at once: the gradients before and after the widest layer, and those of
        a norm."""
        widest = max(max(layer.in_features, layer.out_features) for layer in self.layers.values())
        return sight.tokens * (2 * widest * self.size + 2 * self.width * SINGLE)


def _is_of_text(name: str) -> bool:
    return bool(TWO_STREAMS.search(name))


def _seen(name: str, layers: Mapping[str, nn.Linear], sight: Sight) -> int:
    """Tokens that a module sees: those of one stream in blocks that have two."""
    if not any(_is_of_text(layer) for layer in layers):
        return sight.tokens
    return sight.text if _is_of_text(name) else sight.image
