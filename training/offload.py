"""A base whose blocks live in main memory while it is trained on, and visit the device one at a time.

What diffusers and accelerate have for this is made for inference. diffusers' group offload puts other data under the
same parameter when a block has run, and autograd, which keeps the parameters of norms themselves, then finds those on
the wrong device. accelerate's hook does it by new parameters, but offloads a LoRA with its block, so that the optimizer
is left with tensors without data. Neither takes a block away whose recomputation torch.utils.checkpoint breaks off as
soon as it has what it needs, as it does in every backward pass.

Here a block computes with copies that are new parameters each time. Autograd keeps those that the backward pass needs,
and they are freed with the graph, so nothing says when a block is done. Under gradient checkpointing the graph of a
forward pass keeps none, and that of a recomputation those of one block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Place = tuple[nn.Module, str, nn.Parameter]
"""A module, the name of one of its parameters, and the parameter at rest."""


def stream(transformer: nn.Module, blocks: Sequence[nn.Module], device: torch.device) -> None:
    """Moves a transformer to the device, but for the frozen weights of its blocks.

    They stay in main memory, pinned where a GPU reads it, and every call of a block copies its own to the device. Call
    this after the LoRA is attached and before its optimizer is made, and use the transformer under gradient
    checkpointing only: otherwise every copy lives until the backward pass.

    Args:
        transformer: in main memory, its weights frozen but for those of a LoRA.
    """
    resting = [list(_frozen(block)) for block in blocks]
    stay = {id(weight) for places in resting for _, _, weight in places}
    for weight in transformer.parameters():
        if id(weight) not in stay:
            weight.data = weight.data.to(device)
        elif device.type == "cuda":
            weight.data = weight.data.pin_memory()
    for buffer in transformer.buffers():
        buffer.data = buffer.data.to(device)
    for block, places in zip(blocks, resting, strict=True):
        block.register_forward_pre_hook(_fetching(places, device))
        # Also when the recomputation is broken off, which torch does by an exception.
        block.register_forward_hook(_releasing(places), always_call=True)


def _frozen(block: nn.Module) -> Iterable[Place]:
    for module in block.modules():
        for name, weight in module.named_parameters(recurse=False):
            if not weight.requires_grad:
                yield module, name, weight


def copied(weight: Tensor, device: torch.device) -> Tensor:
    """A copy of a weight at rest on the device; it need not have arrived when this returns."""
    return weight.detach().to(device, non_blocking=True, copy=True)


def _fetching(places: Sequence[Place], device: torch.device) -> Callable[..., None]:
    def fetch(*_: Any) -> None:
        for module, name, weight in places:
            setattr(module, name, nn.Parameter(copied(weight, device), requires_grad=False))

    return fetch


def _releasing(places: Sequence[Place]) -> Callable[..., None]:
    def release(*_: Any) -> None:
        for module, name, weight in places:
            setattr(module, name, weight)

    return release
