"""Several processes on one training (`accelerate launch`): who I am, and sums over all of us."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import torch
from torch import Tensor

PATIENCE = timedelta(hours=24)
"""How long a process waits for the others: one encodes for all, and draws samples alone. NCCL's own ten minutes are
less than some thousands of views take."""


class Processes:
    """One process or several. Every one draws its own grids of a step, and gradients are added up once a step."""

    def __init__(self) -> None:
        from accelerate import PartialState

        self._state = PartialState(timeout=PATIENCE)
        self.rank, self.count = self._state.process_index, self._state.num_processes
        self.device: torch.device = self._state.device

    @property
    def is_main(self) -> bool:
        return bool(self.rank == 0)

    def own(self, positions: range) -> range:
        """The part of a step's positions that is this process's."""
        return positions[self.rank :: self.count]

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replaces every tensor by its sum over all processes; one message for all of them."""
        if self.count == 1 or not tensors:
            return
        # NCCL adds nothing that lies on the CPU, as losses do.
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors]).to(self.device)
        torch.distributed.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def wait(self) -> None:
        """Until all are here."""
        self._state.wait_for_everyone()
