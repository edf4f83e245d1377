"""Qwen-Image: streams of image and text tokens; text is read by Qwen2.5-VL after a fixed system prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from training.backends._qwen_image import PARTS, QwenImages
from training.model_files import Known


class QwenImage(QwenImages):
    PIPELINE = "QwenImagePipeline"
    BASE = "qwen-image"
    KNOWN: ClassVar[Mapping[str, Known]] = {
        f"Qwen/{name}": Known(licence="apache-2.0", parts=PARTS) for name in ("Qwen-Image-2512", "Qwen-Image")
    }


def make(model: str | None, revision: str | None = None) -> QwenImage:
    return QwenImage(model, revision)
