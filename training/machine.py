"""What depends on the machine: dtypes of the base and the encoders, memory savings, the optimizer."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import Any

import psutil
import torch
from torch import nn

from pipeline.errors import BadInput
from training.backends.base import Backend
from training.config import Config
from training.model_files import parameter_count

GIB = 2**30
SMALL = 1_000_000_000
"""Parameters below which blocks are not recomputed in the backward pass by default."""
BETAS = (0.9, 0.999)
CPU = torch.device("cpu")


def weights_format(config: Config, device: torch.device) -> str:
    """How the base's weights are stored, by the name of the setting."""
    if config.base_weights != "auto":
        return config.base_weights
    return "fp32" if device.type == "cpu" else "bf16"


def base_dtype(config: Config, device: torch.device) -> torch.dtype:
    """The dtype that the base computes in."""
    return torch.float32 if weights_format(config, device) == "fp32" else torch.bfloat16


def encoder_dtype(device: torch.device) -> torch.dtype:
    """The dtype that text encoders and VAE compute in."""
    return torch.float32 if device.type == "cpu" else torch.bfloat16


def gpu_memory(device: torch.device) -> float | None:
    """Bytes of a GPU, used or not; None for a CPU, and for a GPU that is not here."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return None
    return float(torch.cuda.get_device_properties(device).total_memory)


def memory_in_use(device: torch.device) -> float:
    """GiB that this process holds: of a GPU's memory what PyTorch has reserved, elsewhere of the main memory."""
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device) / GIB
    return float(psutil.Process().memory_info().rss) / GIB


def check(config: Config, device: torch.device) -> None:
    """Checks whether the machine can do what is set, before any work is done.

    Raises:
        BadInput: it can't.
    """
    wanted = [
        ("base_weights", config.base_weights, ("int8", "nf4")),
        ("optimizer", config.optimizer, ("adamw8bit",)),
    ]
    missing = [] if device.type == "cuda" else ["no CUDA device"]
    missing += [] if find_spec("bitsandbytes") else ["no package bitsandbytes (pip install 'iclora[bitsandbytes]')"]
    for key, value, needs in wanted:
        if value in needs and missing:
            raise BadInput(
                f"train.{key}={value} needs a CUDA device and the package bitsandbytes, and there is "
                f"{' and '.join(missing)} here; leave it out{', or use fp8' if key == 'base_weights' else ''}."
            )
    if config.offload:
        _check_offloaded_training(config, device)
    if config.wandb and not find_spec("wandb"):
        raise BadInput("train.wandb=true needs the package wandb, which is not installed: pip install wandb.")


def _check_offloaded_training(config: Config, device: torch.device) -> None:
    """
    Raises:
        BadInput: there is no GPU to copy blocks to, or another setting needs them all there.
    """
    if device.type == "cpu":
        raise BadInput(
            "train.offload=true copies the base's blocks to a GPU one by one, and there is none; leave it out."
        )
    unfit = {
        f"train.base_weights={config.base_weights}": config.base_weights in ("int8", "nf4"),
        "train.compile=true": config.compile,
        "train.checkpointing=false": config.checkpointing is False,
    }
    if found := [name for name, holds in unfit.items() if holds]:
        raise BadInput(
            f"train.offload=true takes blocks away from the GPU, which {' and '.join(found)} "
            f"{'does' if len(found) == 1 else 'do'} not allow; leave out one or the other."
        )


def load_transformer(backend: Backend, config: Config, device: torch.device) -> Any:
    """The frozen base as the settings ask for it, without a LoRA; with `offload` in main memory."""
    dtype = base_dtype(config, device)
    more = {}
    if config.base_weights in ("int8", "nf4"):
        kept = kept_layers(backend, backend.blank("transformer"))
        more = {"quantization_config": _quantized(config, dtype, kept)}
    transformer: Any = backend.load("transformer", dtype, CPU if config.offload else device, **more)
    if config.base_weights == "fp8":
        cast_layers(backend, transformer, dtype)
    if recomputes(config, transformer):
        transformer.enable_gradient_checkpointing()
    return transformer


def kept_layers(backend: Backend, transformer: nn.Module) -> list[str]:
    """Names of the linear layers that stay as they are in every format: those outside of the blocks.

    They read noise levels, texts and latents or write the prediction, so that all blocks depend on them, and they are a
    small part of the weights. ai-toolkit leaves them out for Krea 2, and all families are treated alike here. A layer
    whose name is also the last part of the name of one in a block (`proj_out` of FLUX.1) is not among them, since
    diffusers, given that name, would leave out the layers in the blocks too.
    """
    inside = {id(module) for block in backend.blocks(transformer) for module in block.modules()}
    linear = [(name, module) for name, module in transformer.named_modules() if isinstance(module, nn.Linear)]
    shared = {name.rpartition(".")[2] for name, layer in linear if id(layer) in inside}
    return [name for name, layer in linear if id(layer) not in inside and name not in shared]


def cast_layers(backend: Backend, transformer: Any, dtype: torch.dtype) -> None:
    """Stores a transformer's layers in 8 bits, but for `kept_layers` and those that diffusers leaves as they are: a
    weight in 8 bits has no scale of its own here, unlike one of bitsandbytes, so norms and modulation need more.

    Each layer computes in `dtype`, and a step takes as long as before.
    """
    from diffusers.hooks.layerwise_casting import DEFAULT_SKIP_MODULES_PATTERN

    kept = [f"^{re.escape(name)}$" for name in kept_layers(backend, transformer)]
    transformer.enable_layerwise_casting(
        storage_dtype=torch.float8_e4m3fn,
        compute_dtype=dtype,
        skip_modules_pattern=(*DEFAULT_SKIP_MODULES_PATTERN, *kept),
    )


def check_offload(config: Config, device: torch.device) -> None:
    """
    Raises:
        BadInput: there is no GPU to send the weights to, or they can't be sent block by block.
    """
    if device.type == "cpu":
        raise BadInput("--offload sends the base's weights to a GPU block by block, and there is none; leave it out.")
    if config.base_weights in ("int8", "nf4"):
        raise BadInput(
            f"--offload can't move weights as {config.base_weights}, which stay on the GPU; use --weights bf16 or fp8."
        )


def offload(transformer: Any, device: torch.device) -> None:
    """Leaves a transformer in the computer's memory, from where each block is sent to the GPU when its turn comes.
    Call it after the LoRA is attached."""
    transformer.enable_group_offload(device, CPU, offload_type="block_level", num_blocks_per_group=1)


def recomputes(config: Config, transformer: nn.Module) -> bool:
    """Whether blocks are recomputed in the backward pass, which saves memory."""
    if config.checkpointing is None:
        return config.offload or parameter_count(transformer) >= SMALL
    return config.checkpointing


def compile_blocks(backend: Backend, transformer: nn.Module) -> None:
    """Compiles the transformer's blocks, once per kind of block. Call it after the LoRA is attached."""
    for block in backend.blocks(transformer):
        block.compile(fullgraph=False)


def _quantized(config: Config, dtype: torch.dtype, kept: list[str]) -> Any:
    """
    Args:
        kept: layers that are not quantised, in 8 and, whatever the argument's name says, in 4 bits.
    """
    from diffusers import BitsAndBytesConfig

    kind: dict[str, Any] = {"load_in_8bit": True}
    if config.base_weights == "nf4":
        kind = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": dtype}
    return BitsAndBytesConfig(**kind, llm_int8_skip_modules=kept)  # type: ignore[no-untyped-call]


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Computes the products of the LoRA's float32 weights in the base's dtype where a GPU is faster at it."""
    return torch.autocast(device.type, dtype) if device.type == "cuda" and dtype != torch.float32 else nullcontext()


def make_optimizer(weights: Iterable[nn.Parameter], config: Config) -> torch.optim.Optimizer:
    more: dict[str, Any] = {"lr": config.learning_rate, "betas": BETAS, "weight_decay": config.weight_decay}
    if config.optimizer == "adamw8bit":
        from bitsandbytes.optim import AdamW8bit  # type: ignore[import-not-found]

        made: torch.optim.Optimizer = AdamW8bit(list(weights), **more)
        return made
    return torch.optim.AdamW(list(weights), **more, fused=True)
