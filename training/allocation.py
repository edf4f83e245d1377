"""Bytes that tensors take while code runs, counted operation by operation. On fake tensors that needs no memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import finalize

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakIdKeyDictionary


class Peak(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch ships no types for these
    """Counts what is allocated inside a `with` block, whether by the forward or the backward pass.

    What an operation takes for itself (workspaces of cuDNN and cuBLAS) and what the allocator rounds up is not counted.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0
        self._known: WeakIdKeyDictionary = WeakIdKeyDictionary()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        asked = dict(kwargs or {})
        tree_map_only(torch.Tensor, self._know, (args, asked))  # what was there before, such as weights
        out = func(*args, **asked)
        tree_map_only(torch.Tensor, self._count, out)
        return out

    def _know(self, tensor: torch.Tensor) -> torch.Tensor:
        self._known[tensor.untyped_storage()] = True
        return tensor

    def _count(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage not in self._known:
            size = storage.nbytes()
            self._known[storage] = True
            self.now += size
            self.most = max(self.most, self.now)
            finalize(storage, self._free, size)
        return tensor

    def _free(self, size: int) -> None:
        self.now -= size
