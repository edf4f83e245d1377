"""What this machine can do: numbers of the base's weights, and the optimizer's."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from pipeline.errors import BadInput
from training.backends.base import Backend, parameters
from training.config import Config

SMALL = 1_000_000_000
"""Parameters under which blocks are not computed again in the backward pass unless that is asked for."""
BETAS = (0.9, 0.999)


def base_numbers(config: Config, device: torch.device) -> str:
    """The numbers that the base is held in, by their name in the settings."""
    if config.base_weights != "auto":
        return config.base_weights
    return "fp32" if device.type == "cpu" else "bf16"


def base_dtype(config: Config, device: torch.device) -> torch.dtype:
    """The numbers that the base computes in."""
    return torch.float32 if base_numbers(config, device) == "fp32" else torch.bfloat16


def encoder_dtype(device: torch.device) -> torch.dtype:
    """The numbers that text encoders and VAE compute in."""
    return torch.float32 if device.type == "cpu" else torch.bfloat16


def check(config: Config, device: torch.device) -> None:
    """Asks whether the machine can do what is set, before any work is done.

    Raises:
        BadInput: it can't.
    """
    wanted = [
        ("base_weights", config.base_weights, ("int8", "nf4")),
        ("optimizer", config.optimizer, ("adamw8bit",)),
    ]
    lacking = [] if device.type == "cuda" else ["no CUDA device"]
    lacking += [] if find_spec("bitsandbytes") else ["no package bitsandbytes"]
    for key, value, needs in wanted:
        if value in needs and lacking:
            raise BadInput(
                f"train.{key}={value} needs a CUDA device and the package bitsandbytes, and there is "
                f"{' and '.join(lacking)} here; leave it out{', or take fp8' if key == 'base_weights' else ''}."
            )
    if config.wandb and not find_spec("wandb"):
        raise BadInput("train.wandb=true needs the package wandb, which is not installed: pip install wandb.")


def load_transformer(backend: Backend, config: Config, device: torch.device) -> Any:
    """The frozen base as the settings want it, without a LoRA."""
    dtype = base_dtype(config, device)
    more = {} if config.base_weights not in ("int8", "nf4") else {"quantization_config": _quantized(config, dtype)}
    transformer: Any = backend.load("transformer", dtype, device, **more)
    if config.base_weights == "fp8":
        # Kept in 8 bits, computed in bfloat16 layer by layer; a step's time stays as it was.
        transformer.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=dtype)
    if recomputes(config, transformer):
        transformer.enable_gradient_checkpointing()
    return transformer


def recomputes(config: Config, transformer: nn.Module) -> bool:
    """Whether blocks are computed again in the backward pass, which saves memory."""
    return parameters(transformer) >= SMALL if config.checkpointing is None else config.checkpointing


def compile_blocks(transformer: Any) -> None:
    """Compiles the repeated blocks, which are alike: one of each kind is compiled. After the LoRA is on them."""
    transformer.compile_repeated_blocks(fullgraph=False)


def _quantized(config: Config, dtype: torch.dtype) -> Any:
    from diffusers import BitsAndBytesConfig

    if config.base_weights == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)  # type: ignore[no-untyped-call]
    kind = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": dtype}
    return BitsAndBytesConfig(**kind)  # type: ignore[no-untyped-call]


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """The LoRA's float32 weights go through their products in the base's numbers where a GPU computes those faster."""
    return torch.autocast(device.type, dtype) if device.type == "cuda" and dtype != torch.float32 else nullcontext()


def make_optimizer(weights: Iterable[nn.Parameter], config: Config) -> torch.optim.Optimizer:
    more: dict[str, Any] = {"lr": config.learning_rate, "betas": BETAS, "weight_decay": config.weight_decay}
    if config.optimizer == "adamw8bit":
        from bitsandbytes.optim import AdamW8bit  # type: ignore[import-not-found]

        made: torch.optim.Optimizer = AdamW8bit(list(weights), **more)
        return made
    return torch.optim.AdamW(list(weights), **more, fused=True)
