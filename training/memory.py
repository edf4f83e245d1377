"""The memory that a training takes on its device, phase by phase, worked out from shapes before weights are loaded.

Every term errs on the high side, by little. What the allocator holds beyond what is in use, and what cuDNN takes for
itself, is not foreseen. `bench/gpu.py` measures all of it where there is a GPU; none has been available here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from training import activations, machine
from training.activations import Lora, Sight
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
NF4_BLOCK = 64
"""Weights that share a 32-bit maximum in bitsandbytes' nf4, without a second quantization of these (blocksize of
quantize_4bit; compress_statistics is off in diffusers)."""
NF4_CODES = 16 * 4
"""Bytes of a layer's table of the 16 values."""
READ = 0.45 * 2**20
"""Bytes per token of a text while it is read, in 16 bits: the states of all layers and the widest layer's numbers in
Qwen3 of 8 billion parameters, which is the largest encoder; in T5 the attention scores of its 512 tokens."""
OF_CANVAS = ("one picture", "activations", "one grid")
"""Parts of a phase that grow with the canvas."""


@dataclass(frozen=True)
class Phase:
    """What is in memory at once at a phase's peak, in bytes by what takes it."""

    name: str
    parts: Mapping[str, float]
    on_cpu: bool = False
    """Whether it is main memory, while the rest runs on a GPU."""

    @property
    def total(self) -> float:
        return sum(self.parts.values())

    @property
    def without_canvas(self) -> float:
        """What it would take however small the canvas."""
        return sum(size for name, size in self.parts.items() if name not in OF_CANVAS)


def phases(
    backend: Backend,
    config: Config,
    lora: Lora,
    sight: Sight,
    device: torch.device,
    gpu: float | None = None,
) -> tuple[Phase, ...]:
    """What each phase takes on the device, in their order; text encoders and VAE are freed after use.

    Args:
        gpu: bytes of the GPU's memory; None if they aren't known.
    """
    context = {"context": CONTEXT} if device.type == "cuda" else {}
    precision = machine.encoder_dtype(device)
    encode, decode = vae_peaks(backend, sight.canvas, precision)
    vae = precision.itemsize * _parameters(backend, "vae")
    base, copies = _base(backend, config, device)
    kept = base | {"LoRA, optimizer, average": lora.size * (4 + STATE[config.optimizer] + 4)}
    one = activations.peak(backend, config, lora, sight, device)
    reading = reads(backend, sight.read, device)
    on_cpu = text_device(reading, device, gpu) != device
    found = (
        Phase("reading texts", reading if on_cpu else context | reading, on_cpu),
        Phase("encoding pictures", context | {"VAE": vae, "one picture": encode}),
        Phase("training", context | kept | copies | {"gradient": lora.size * 4.0, "activations": one}),
        # A grid is decoded when the transformer is done, whose working memory is less than that of a training step.
        Phase("drawing samples", context | kept | {"VAE": vae, "one grid": decode}),
    )
    return found if config.samples else found[:-1]


# ---- the text encoders


def reads(backend: Backend, tokens: int, device: torch.device) -> dict[str, float]:
    """Bytes that reading a text takes, by what takes them.

    Args:
        tokens: that the text encoder reads at once, those of reference images among them.
        device: of the training, whose dtype the encoders have wherever they are.
    """
    size = machine.encoder_dtype(device).itemsize
    encoders = size * sum(_parameters(backend, part) for part in backend.ENCODERS)
    return {"text encoders": encoders, "one text": READ * tokens * size / 2}


@lru_cache(maxsize=64)
def _parameters(backend: Backend, part: str) -> int:
    return backend.count(part)


def text_device(reading: Mapping[str, float], device: torch.device, gpu: float | None) -> torch.device:
    """Where texts are read: on the device, or on the CPU if a GPU has too little memory for the encoders. Each text is
    read once, so a training waits for that only at its beginning.

    Args:
        reading: as `reads` counts it.
        gpu: bytes of the GPU's memory; None if there is none, or they aren't known.
    """
    return machine.CPU if gpu is not None and CONTEXT + sum(reading.values()) > gpu else device


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
        again = machine.recomputes(config, activations.blank(backend))
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
    """Weights of the largest linear layer of those that 8 and 4 bits take up."""


@lru_cache(maxsize=16)
def weight_sizes(backend: Backend, kind: str) -> Sizes:
    """How large a base is when it is held as a setting says.

    Args:
        kind: fp32, bf16, fp8, int8 or nf4.
    """
    transformer: Any = backend.blank("transformer")
    kept = machine.kept_layers(backend, transformer)
    linear = [layer for name, layer in transformer.named_modules() if isinstance(layer, nn.Linear) and name not in kept]
    if kind in {"fp32", "bf16"}:
        sizes = {weight: weight.numel() * (4.0 if kind == "fp32" else 2.0) for weight in transformer.parameters()}
    elif kind == "fp8":
        # diffusers' own rule adds what stays in 16 bits, such as everything with "norm" in its name.
        for weight in transformer.parameters():
            weight.data = weight.data.to(torch.bfloat16)
        machine.cast_layers(backend, transformer, torch.bfloat16)
        sizes = {weight: float(weight.numel() * weight.element_size()) for weight in transformer.parameters()}
    else:
        sizes = {weight: 2.0 * weight.numel() for weight in transformer.parameters()}
        for layer in linear:
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
