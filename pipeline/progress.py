"""How long-running work reports its progress: one protocol for stages, encoding and training."""

from __future__ import annotations

from typing import Protocol


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
