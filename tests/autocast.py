"""What CUDA's autocast makes of a model in 16 bits, on a CPU, where autocast works by other lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._pytree import tree_map_only

CAST = {
    torch.bfloat16: ("linear", "conv2d", "scaled_dot_product_attention"),
    torch.float32: ("layer_norm", "rms_norm", "group_norm"),
}
"""By dtype of their inputs, functions of PyTorch's lists for CUDA ("Autocast Op Reference") that transformers call in
another one; products of matrices, roots and powers get theirs in the right one already."""


@contextmanager
def like_cuda() -> Iterator[None]:
    with ExitStack() as patches:
        for dtype, names in CAST.items():
            for name in names:
                patches.enter_context(mock.patch.object(functional, name, _casting(getattr(functional, name), dtype)))
        yield


def _casting(function: Callable[..., Any], dtype: torch.dtype) -> Callable[..., Any]:
    def cast(tensor: Tensor) -> Tensor:
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    def called(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = tree_map_only(torch.Tensor, cast, (args, kwargs))
        return function(*args, **kwargs)

    return called
