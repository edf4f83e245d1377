"""Several processes on one training (`accelerate launch`): this process's rank, and sums over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import torch
from torch import Tensor

PATIENCE = timedelta(hours=24)
"""How long a process waits for the others while the main one encodes or draws samples. NCCL's default of ten minutes is
too short for some thousands of views."""


class Processes:
    """One process or several. Each draws its own grids of a step, and gradients are summed once per step."""

    def __init__(self) -> None:
        from accelerate import PartialState

        self._state = PartialState(timeout=PATIENCE)
        self.rank, self.count = self._state.process_index, self._state.num_processes
        self.device: torch.device = self._state.device

    @property
    def is_main(self) -> bool:
        return bool(self.rank == 0)

    def own(self, positions: range) -> range:
        """This process's share of the positions of a step."""
        return positions[self.rank :: self.count]

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replaces every tensor by its sum over all processes, in one message."""
        if self.count == 1 or not tensors:
            return
        # NCCL can't reduce tensors on the CPU, such as losses.
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors]).to(self.device)
        torch.distributed.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def wait(self) -> None:
        """Waits until all processes are here."""
        self._state.wait_for_everyone()
