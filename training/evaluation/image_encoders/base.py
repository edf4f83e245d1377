"""The protocol of image encoders: maps images to unit vectors. Every scorer is one; an encoder need not know texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


class ImageEncoder(Protocol):
    """A module has `Options` and `make(options) -> ImageEncoder`."""

    def identity(self) -> dict[str, Any]:
        """Everything that its vectors depend on: model, weights, how images are resized. Cheap: loads nothing.

        Raises:
            MissingWeights: the model is not on this machine and can't be fetched.
        """

    def image_vectors(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Unit vectors, float32: images x dimensions."""
