"""What a scorer is: pictures and texts as unit vectors in one space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


class Scorer(Protocol):
    """A scorer module has `make(options) -> Scorer | None`; None scores nothing.

    It can be pickled at any time and is light then: another process gets its options and loads weights of its own.
    """

    def identity(self) -> dict[str, Any]:
        """Everything that its vectors depend on: model, weights, how pictures are resized.

        `kind` says what its cosines are like, "clip" or "siglip": fixed thresholds go by it.

        Raises:
            MissingWeights: the model can't be had on this machine. Cheap: loads nothing.
        """

    def image_vectors(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Unit vectors, float32, one row a picture."""

    def text_vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors, float32, one row a text. No text is cut, however long."""
