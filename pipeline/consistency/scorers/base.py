"""The scorer protocol: maps images and texts to unit vectors in one space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


class Scorer(Protocol):
    """A scorer module has `Options` and `make(options) -> Scorer | None`; None means that nothing is scored.

    A scorer is picklable at any time without its weights: another process gets its options and loads them itself.
    """

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
