"""A linear layer and its LoRA with one pass over memory per matrix product.

peft computes the base's output, the LoRA's, the scaled LoRA's and the sum, each as a tensor of full width, and the same
again in the backward pass. Here the LoRA's product is added to the base's output in place, and so is its share of the
input's gradient. The results are the same up to the order of additions.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class _Through(torch.autograd.Function):
    """y = x W^T + b + s (x A^T) B^T for a frozen W and b. N rows, I inputs, O outputs, R the rank."""

    @staticmethod
    def forward(ctx: Any, x_NI: Tensor, layer: nn.Linear, a_RI: Tensor, b_OR: Tensor, strength: float) -> Tensor:
        h_NR = x_NI @ a_RI.T
        # The weight, not the layer: an offloaded block has others by the time of the backward pass.
        ctx.save_for_backward(x_NI, a_RI, b_OR, h_NR, layer.weight)
        ctx.strength = strength
        return functional.linear(x_NI, layer.weight, layer.bias).addmm_(h_NR, b_OR.T, alpha=strength)

    @staticmethod
    def backward(ctx: Any, gradient_NO: Tensor) -> tuple[Tensor | None, None, Tensor, Tensor, None]:
        x_NI, a_RI, b_OR, h_NR, weight_OI = ctx.saved_tensors
        back_NR = gradient_NO @ b_OR
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = (gradient_NO @ weight_OI).addmm_(back_NR, a_RI, alpha=ctx.strength)
        return of_x, None, (back_NR.T @ x_NI) * ctx.strength, (gradient_NO.T @ h_NR) * ctx.strength, None


def _forward(self: Any, x: Tensor) -> Tensor:
    """Replaces the forward of a peft layer. Weights are looked up at every call, as averaged ones may be swapped in."""
    # Under autocast, norms pass float32 to a base in 16 bits, and in-place products are not cast.
    rows = x.reshape(-1, x.shape[-1]).to(self.base_layer.weight.dtype)
    a, b = (part["default"].weight.to(rows.dtype) for part in (self.lora_A, self.lora_B))
    out: Tensor = _Through.apply(rows, self.base_layer, a, b, self.scaling["default"])
    return out.view(*x.shape[:-1], -1)


def fuse(transformer: nn.Module) -> int:
    """Gives every LoRA layer on an unquantized linear layer this forward pass; returns how many there were.

    Layers whose weights are stored in another dtype than they compute in (8 and 4 bits) keep peft's own.
    """
    from peft.tuners.lora import Linear

    computed = {torch.float32, torch.bfloat16, torch.float16}
    fused = 0
    for layer in transformer.modules():
        if type(layer) is Linear and type(layer.base_layer) is nn.Linear and layer.base_layer.weight.dtype in computed:
            layer.forward = MethodType(_forward, layer)  # type: ignore[method-assign]
            fused += 1
    return fused
