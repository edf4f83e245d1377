"""Qwen-Image-Edit: Qwen-Image with up to three reference images, seen by Qwen2.5-VL and, as tokens, by the
transformer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from PIL import Image

from training.backends._qwen_image import PARTS, TRANSFORMER, QwenImages
from training.backends.base import Encoded
from training.model_files import Known

SEEN_PIXELS = 384 * 384
"""Area at which the text encoder sees a reference image."""
SEEN_STEP = 28
"""Sides of what the text encoder makes one token of, in pixels."""
STEP = 32
"""Sides of reference images are multiples of it, in pixels."""
PICTURE = "Picture {}: <|vision_start|><|image_pad|><|vision_end|>"
"""What stands for a reference image before the prompt."""


class QwenImageEdit(QwenImages):
    PIPELINE = "QwenImageEditPlusPipeline"
    BASE = "qwen-image-edit"
    # Only 2511 modulates reference images as at noise level 0. Where its config lacks that, it ignores them.
    KNOWN: ClassVar[Mapping[str, Known]] = {
        f"Qwen/Qwen-Image-Edit-{month}": Known(
            licence="apache-2.0", parts=PARTS | {"transformer": TRANSFORMER | {"zero_cond_t": month == "2511"}}
        )
        for month in ("2511", "2509")
    }
    TEMPLATE = (
        "<|im_start|>system\n"
        "Describe the key features of the input image (color, shape, size, texture, objects, background), then explain "
        "how the user's text instruction should alter or modify the image. Generate a new image that meets the user's "
        "requirements while maintaining consistency with the original input where appropriate.<|im_end|>\n"
        "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
    )
    DROPPED = 64
    REFERENCES = 3
    ENCODER_SEES_REFERENCES = True
    PIPELINE_NEEDS_REFERENCES = True

    @property
    def modulation_per_token(self) -> int:
        """Two scales and two gates."""
        return 4 if self.config("transformer").get("zero_cond_t") else 0

    @property
    def text_parts(self) -> tuple[str, ...]:
        return (*super().text_parts, "processor")

    def reference_size(self, size: tuple[int, int], scale: float = 1.0) -> tuple[int, int]:
        """As in the pipeline: the area at which it encodes every reference image, small ones too."""
        return _of_area(self.REFERENCE_PIXELS * scale**2, size)

    def picture_tokens(self, size: tuple[int, int]) -> int:
        return math.prod(_of_area(SEEN_PIXELS, size)) // SEEN_STEP**2

    @torch.inference_mode()
    def encode_text(
        self,
        encoders: Mapping[str, Any],
        texts: Sequence[str],
        references: Sequence[Sequence[Image.Image]] = (),
    ) -> list[Encoded]:
        """`text` (L x D): the last hidden states of reference images, prompt and what follows it; nothing is cut."""
        pictures = references or [()] * len(texts)
        prompts = self.templated(
            [
                "".join(PICTURE.format(number) for number in range(1, len(own) + 1)) + text
                for text, own in zip(texts, pictures, strict=True)
            ]
        )
        seen = [_seen(image) for own in pictures for image in own]
        read = self.processor()(text=prompts, images=seen or None, padding=True, return_tensors="pt")
        return self._read(encoders["text_encoder"], read)


def _of_area(pixels: float, size: tuple[int, int]) -> tuple[int, int]:
    """Width and height of about this area in a picture's shape (pipeline_qwenimage_edit_plus.py,
    calculate_dimensions)."""
    ratio = size[0] / size[1]
    width = math.sqrt(pixels * ratio)
    return max(STEP, round(width / STEP) * STEP), max(STEP, round(width / ratio / STEP) * STEP)


def _seen(image: Image.Image) -> Image.Image:
    """A reference image as the text encoder gets it."""
    return image.convert("RGB").resize(_of_area(SEEN_PIXELS, image.size), Image.Resampling.LANCZOS)


def make(model: str | None, revision: str | None = None) -> QwenImageEdit:
    return QwenImageEdit(model, revision)
