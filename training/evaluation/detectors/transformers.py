"""Any object detection model of transformers: RT-DETR, DETR, YOLOS and their kin, from the hub or a local folder."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pipeline import plugins, weights
from pipeline.errors import MissingWeights
from training.evaluation.detectors.base import Detection

if TYPE_CHECKING:
    from PIL import Image

BATCH = 8
FILES = (".json", ".safetensors", ".bin")
"""Suffixes of the files in a model folder that its boxes depend on."""


class Options(plugins.Options):
    model: str = "PekingU/rtdetr_v2_r18vd"
    """A name on the model hub, or a folder; the default's licence is Apache-2.0."""
    revision: str | None = None
    """Commit or tag on the hub; if not set, the newest on this machine, else the hub's main."""
    threshold: float = Field(0.5, ge=0, le=1)
    """Confidence from which something counts as found."""


class Transformers:
    def __init__(self, options: Options) -> None:
        self.options = options

    def identity(self) -> dict[str, Any]:
        return {
            "detector": "transformers",
            "model": self.options.model,
            "revision": self._revision,
            "threshold": self.options.threshold,
        }

    def detect(self, images: Sequence[Image.Image]) -> list[list[Detection]]:
        import torch

        processor, model = self._loaded
        found = []
        with torch.inference_mode(), weights.fit_threads(model):
            for start in range(0, len(images), BATCH):
                some = [image.convert("RGB") for image in images[start : start + BATCH]]
                outputs = model(**processor(images=some, return_tensors="pt").to(model.device))
                sizes = [(image.height, image.width) for image in some]
                results = processor.post_process_object_detection(outputs, self.options.threshold, target_sizes=sizes)
                found += [list(self._detections(*pair)) for pair in zip(results, sizes, strict=True)]
        return found

    def _detections(self, result: Any, size: tuple[int, int]) -> Iterator[Detection]:
        """What was found in one image; boxes that lie outside it, or come to no pixel, are left out."""
        labels = self._loaded[1].config.id2label
        for score, label, box in zip(*(result[key].tolist() for key in ("scores", "labels", "boxes")), strict=True):
            left, top = (max(0, math.floor(value)) for value in box[:2])
            right, bottom = (min(most, math.ceil(value)) for value, most in zip(box[2:], reversed(size), strict=True))
            if left < right and top < bottom:
                yield Detection((left, top, right, bottom), labels[label], score)

    @cached_property
    def _revision(self) -> str:
        """The identity of the weights."""
        try:
            return weights.identity(self.options.model, FILES, self.options.revision)
        except LookupError as error:
            raise _missing(self.options.model, str(error)) from error

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        from transformers import AutoImageProcessor, AutoModelForObjectDetection

        name, revision = self.options.model, None if Path(self.options.model).is_dir() else self._revision
        try:
            with weights.told(), weights.no_bars():
                weights.provide(f"the detector {name}", name, revision)
                processor = AutoImageProcessor.from_pretrained(  # type: ignore[no-untyped-call]
                    name, revision=revision
                )
                model = AutoModelForObjectDetection.from_pretrained(name, revision=revision)
        except LookupError as error:
            raise _missing(name, str(error)) from error
        return processor, model.eval().to(weights.device())


def _missing(model: str, why: str) -> MissingWeights:
    return MissingWeights(
        f"the weights of the detector '{model}' are not on this machine and can't be fetched ({why.rstrip('.')}); run "
        "once with network access to download them, name a folder with --set detector.model=FOLDER, or leave "
        "--detector out."
    )


def make(options: dict[str, Any]) -> Transformers:
    return Transformers(plugins.parse_options(Options, "the detector transformers", options))
