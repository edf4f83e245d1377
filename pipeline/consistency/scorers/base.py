"""The scorer protocol: maps images and texts to unit vectors in one space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

KINDS = ("clip", "siglip")
"""Kinds of scorers, by the range of their cosine similarities."""


class Scorer(Protocol):
    """A scorer module has `Options` and `make(options) -> Scorer | None`; None means that nothing is scored.

    A scorer is picklable at any time without its weights: another process gets its options and loads them itself.
    """

    # It may say what a worker with it `needs` of a cluster, as `Stage.needs` has it: "core" if it doesn't.

    def identity(self) -> dict[str, Any]:
        """Everything that its vectors depend on: model, weights, how images are resized. Cheap: loads nothing.

        `kind` is "clip" or "siglip", the range of its cosine similarities; fixed thresholds depend on it.

        Raises:
            MissingWeights: the model is not on this machine and can't be fetched.
        """

    def image_vectors(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Unit vectors, float32: images x dimensions."""

    def text_vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors, float32: texts x dimensions. No text is truncated, however long."""


def kind_of(scorer: Scorer) -> str:
    """The kind of a scorer, one of KINDS.

    Raises:
        BadInput: its identity has none of them.
        MissingWeights: as `Scorer.identity`.
    """
    kind = scorer.identity().get("kind")
    if kind not in KINDS:
        raise BadInput(
            f"{scorer}: its identity must have the kind {' or '.join(map(repr, KINDS))}, got {kind!r}; "
            "see docs/extending.md."
        )
    return str(kind)


def check_width(scorer: Scorer, images: int, texts: int) -> None:
    """
    Args:
        images: numbers that a vector of an image has; likewise `texts`.

    Raises:
        BadInput: they differ.
    """
    if images != texts:
        raise BadInput(
            f"{scorer}: image vectors and text vectors must be of one space, got {images} and {texts} numbers; "
            "see docs/extending.md."
        )
