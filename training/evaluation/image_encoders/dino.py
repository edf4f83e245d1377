"""Image vectors by DINO, or any other model of timm: by its name there, on the hub, or from a local folder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import plugins, weights
from pipeline.errors import BadInput, MissingWeights

if TYPE_CHECKING:
    from PIL import Image

BATCH = 16
RESIZE = "squash"
"""timm's usual centre crop would hide both sides of a wide panel; squashed, the whole panel is seen."""
FOLDER, HUB = "local-dir:", "hf-hub:"


class Options(plugins.Options):
    model: str = "vit_small_patch14_dinov2.lvd142m"
    """Name of a timm model, with the tag of its weights after a dot if not the usual ones are meant; `hf-hub:ORG/NAME`;
    or `local-dir:FOLDER` with config.json and .safetensors, as `timm.models.save_for_hf` writes them. DINOv2 is under
    Apache-2.0, DINOv3 under licences of its own."""


class Dino:
    def __init__(self, options: Options) -> None:
        self.options = options

    def identity(self) -> dict[str, Any]:
        return {
            "image encoder": "dino",
            "model": self.options.model,
            "weights": self._weights,
            "resize": RESIZE,
        }

    def image_vectors(self, images: Sequence[Image.Image]) -> np.ndarray:
        import torch

        model, transform, device = self._loaded
        rows = []
        with torch.inference_mode(), weights.fit_threads(model):
            for start in range(0, len(images), BATCH):
                pixels = torch.stack([transform(image.convert("RGB")) for image in images[start : start + BATCH]])
                found = torch.nn.functional.normalize(model(pixels.to(device)).float(), dim=-1)
                rows.append(found.cpu().numpy())
        return np.concatenate(rows)

    @cached_property
    def _weights(self) -> str:
        """The identity of the weights: a hash of a folder's files, or a commit on the hub."""
        if self.options.model.startswith(FOLDER):
            folder = Path(self.options.model.removeprefix(FOLDER))
            config, found = folder / "config.json", sorted(folder.glob("*.safetensors"))
            if not config.is_file() or not found:
                raise _missing(self.options, f"{folder} lacks config.json or a .safetensors file")
            return weights.folder_hash([config, *found])
        try:
            return weights.hub_commit(self._repo, "config.json")
        except LookupError as error:
            raise _missing(self.options, str(error)) from error

    @property
    def _repo(self) -> str:
        """Name of the model on the hub."""
        import timm

        name = self.options.model
        if name.startswith(HUB):
            return name.removeprefix(HUB)
        if not timm.is_model(name):
            near = plugins.suggest(name, timm.list_models(pretrained=True))
            raise BadInput(f"timm has no model '{name}'{near or ';'} name one with --set vectors.model=NAME.")
        try:
            config = timm.get_pretrained_cfg(name, allow_unregistered=False)
        except RuntimeError:  # the tag
            config = None
        if config is None or not config.hf_hub_id:
            known = ", ".join(timm.list_pretrained(f"{name.partition('.')[0]}*")) or "none"
            raise BadInput(
                f"timm has no weights for '{name}' (known: {known}); name others with --set vectors.model=NAME."
            )
        return str(config.hf_hub_id)

    @cached_property
    def _loaded(self) -> tuple[Any, Any, Any]:
        import timm
        from timm.data.config import resolve_model_data_config
        from timm.data.transforms_factory import create_transform

        commit, source = self._weights, self.options.model  # the commit first: it says what is missing
        if source.startswith(FOLDER):
            what, place = "the image encoder dino", source.removeprefix(FOLDER)
        else:
            what, place = f"the image encoder {source}", self._repo
            source = f"{HUB}{self._repo}@{commit}"
        device = weights.device()
        try:
            with weights.told():
                weights.provide(what, place, commit)
                model = timm.create_model(source, pretrained=True, num_classes=0).eval().to(device)
        except LookupError as error:
            raise _missing(self.options, str(error)) from error
        config = resolve_model_data_config(model)  # type: ignore[no-untyped-call]
        config |= {"crop_mode": RESIZE, "crop_pct": 1.0}
        return model, create_transform(**config), device


def _missing(options: Options, why: str) -> MissingWeights:
    return MissingWeights(
        f"the weights of the image encoder '{options.model}' are not on this machine and can't be fetched "
        f"({why.rstrip('.')}); run once with network access to download them, name a folder with --set "
        "vectors.model=local-dir:FOLDER, or leave --vectors out to compare panels by the run's scorer."
    )


def make(options: dict[str, Any]) -> Dino:
    return Dino(plugins.parse_options(Options, "the image encoder dino", options))
