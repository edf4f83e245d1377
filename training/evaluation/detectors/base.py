"""The protocol of detectors: maps images to boxes with what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from PIL import Image

PERSON = "person"
"""Label of people, as in COCO: those who are counted against the people that a text names."""


@dataclass(frozen=True)
class Detection:
    """Something that was found in an image."""

    box: tuple[int, int, int, int]
    """Left, top, right and bottom in pixels, within the image and with an area."""
    label: str
    """PERSON, or what else it is, by COCO's names where they fit."""
    score: float
    """Confidence, 0 to 1."""


class Detector(Protocol):
    """A module has `Options` and `make(options) -> Detector`."""

    def identity(self) -> dict[str, Any]:
        """Everything that its boxes depend on: model, weights, thresholds. Cheap: loads nothing.

        Raises:
            MissingWeights: the model is not on this machine and can't be fetched.
        """

    def detect(self, images: Sequence[Image.Image]) -> list[list[Detection]]:
        """What is in each image, in any order; none where nothing was found."""
