"""Failures in a row: many of one kind are not the questions' fault, so that asking on would only cost."""

from __future__ import annotations

from pipeline.errors import BadInput

MOST = 8
"""How many questions in a row may fail in the same way."""


class Streak:
    """How often the captioner has failed in the same way since it last gave a caption, over all batches of a stage.

    Attributes:
        length: how often; 0 after an answer.
    """

    def __init__(self) -> None:
        self._kind, self.length = "", 0

    def add(self, failure: str) -> None:
        """
        Args:
            failure: kind and detail of a question's failure; empty if it was answered.

        Raises:
            BadInput: it is the last of MOST in a row of one kind.
        """
        kind, _, detail = failure.partition(": ")
        self.length = self.length + 1 if kind and kind == self._kind else int(bool(kind))
        self._kind = kind
        if self.length >= MOST:
            raise BadInput(
                f"the captioner failed on {MOST} grids in a row ({kind}: {detail}); the captions made so far are kept, "
                "and the same command resumes."
            )
