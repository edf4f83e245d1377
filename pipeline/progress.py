"""How long-running work reports its progress: one protocol for stages, encoding and training, and a log of what it
waits for."""

from __future__ import annotations

import logging
from typing import Protocol

LOG = logging.getLogger("iclora")
"""What takes long and has no count, such as loading a model, at level INFO as it begins; how the work under way stands,
such as the loss of the last steps, at level DEBUG, where a stage's records have `failures`, the number of its inputs
that were rejected so far. The commands print it; other programs may listen to it."""


class Progress(Protocol):
    """Called whenever some work is done, as in `progress("caption", 16, 80)`."""

    def __call__(self, stage: str, done: int, total: int, /) -> None:
        """
        Args:
            stage: what is being worked on: a stage's name, or a step of training such as "training".
            done: how many of its inputs or steps are finished.
            total: how many there are.
        """


def silent(stage: str, done: int, total: int, /) -> None:
    """Reports nothing."""
