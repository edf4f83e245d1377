"""Any model that open_clip knows, by name and pretrained tag, from the hub or a local folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import BadInput, MissingWeights

if TYPE_CHECKING:
    from PIL import Image

BATCH = 32
RESIZE = "squash"
"""open_clip's usual centre crop would hide both sides of a wide panel from the scorer; squashed it sees all of it."""


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = "ViT-B-32"
    """Name of an open_clip architecture, `hf-hub:ORG/NAME`, or `local-dir:FOLDER`."""
    pretrained: str | None = None
    """Tag of the weights; the default goes with the default model."""

    @property
    def tag(self) -> str | None:
        return "laion2b_s34b_b79k" if self.pretrained is None and self.model == "ViT-B-32" else self.pretrained


class OpenClip:
    def __init__(self, options: Options) -> None:
        self.options = options
        self._loaded: tuple[Any, Any, Any] | None = None

    def identity(self) -> dict[str, Any]:
        options = self.options
        return {
            "scorer": "open_clip",
            "model": options.model,
            "pretrained": options.tag,
            "weights": _weights(options),
            "resize": RESIZE,
        }

    def image_vectors(self, images: Sequence[Image.Image]) -> np.ndarray:
        import torch

        model, transform, _ = self._load()
        rows = []
        for start in range(0, len(images), BATCH):
            pixels = torch.stack([transform(image) for image in images[start : start + BATCH]])
            with torch.inference_mode():
                rows.append(model.encode_image(pixels, normalize=True).float().numpy())
        return np.concatenate(rows)

    def text_vectors(self, texts: Sequence[str]) -> np.ndarray:
        """A text that the text tower can't read whole is split at clauses; the mean of its parts stands for it."""
        import torch

        model, _, tokenizer = self._load()
        parts = [_parts(text, lambda piece: _fits(piece, tokenizer)) for text in texts]
        flat = [piece for pieces in parts for piece in pieces]
        rows = []
        for start in range(0, len(flat), BATCH):
            with torch.inference_mode():
                tokens = tokenizer(flat[start : start + BATCH])
                rows.append(model.encode_text(tokens, normalize=True).float().numpy())
        vectors, first, means = np.concatenate(rows), 0, []
        for pieces in parts:
            mean = vectors[first : first + len(pieces)].mean(axis=0)
            means.append(mean / np.linalg.norm(mean))
            first += len(pieces)
        return np.stack(means)

    def _load(self) -> tuple[Any, Any, Any]:
        if self._loaded is None:
            import open_clip

            name = self.options.model
            try:
                model, _, transform = open_clip.create_model_and_transforms(
                    name, pretrained=self.options.tag, image_resize_mode=RESIZE
                )
                tokenizer = open_clip.get_tokenizer(name)
            except (OSError, RuntimeError, ValueError) as error:
                raise _missing(self.options, str(error).splitlines()[0]) from error
            self._loaded = model.eval(), transform, tokenizer
        return self._loaded


def _fits(text: str, tokenizer: Any) -> bool:
    """Whether the text tower reads all of a text: tokenised with room to spare it must not be longer."""
    roomy = tokenizer([text], context_length=8 * tokenizer.context_length)[0]
    padding = int(roomy[-1])  # the last place of a text that leaves room is padding
    return int((roomy != padding).sum()) <= int(tokenizer.context_length)


def _parts(text: str, fits: Any) -> list[str]:
    """The text whole where it fits, else split in two at the clause border (or space) nearest its middle, and so on."""
    if fits(text):
        return [text]
    middle = len(text) / 2
    borders = [found.end() for found in re.finditer(r"[,;:.]\s+", text)] or [
        found.end() for found in re.finditer(r"\s+", text)
    ]
    if not borders:
        return [text]
    border = min(borders, key=lambda place: abs(place - middle))
    return _parts(text[:border].strip(), fits) + _parts(text[border:].strip(), fits)


def _weights(options: Options) -> str:
    """Which weights the options stand for: a hash of a folder's files, or the commit that the hub's file comes from.

    Raises:
        MissingWeights: they are neither on this machine nor to be fetched.
    """
    if options.model.startswith("local-dir:"):
        folder = Path(options.model.removeprefix("local-dir:"))
        config, weights = folder / "open_clip_config.json", sorted(folder.glob("*.safetensors"))
        if not config.is_file() or not weights:
            raise _missing(options, f"{folder} lacks open_clip_config.json or a .safetensors file")
        return hashlib.sha256(b"".join(file.read_bytes() for file in (config, *weights))).hexdigest()[:16]
    if options.tag is None:
        return "hub"
    import open_clip

    found = open_clip.get_pretrained_cfg(options.model, options.tag)
    if not found:
        known = ", ".join(open_clip.list_pretrained_tags_by_model(options.model)) or "none"
        raise BadInput(f"open_clip has no weights '{options.tag}' for '{options.model}' (known: {known}).")
    try:
        file = open_clip.download_pretrained(found)
    except (OSError, RuntimeError) as error:
        raise _missing(options, str(error).splitlines()[0]) from error
    return Path(file).parent.name


def _missing(options: Options, why: str) -> MissingWeights:
    name = f"{options.model} ({options.tag})" if options.tag else options.model
    return MissingWeights(
        f"the weights of the scorer '{name}' are not on this machine and can't be fetched ({why.rstrip('.')}); "
        "on a machine with a network run once and open_clip keeps them, or name a folder with "
        "--set scorer.model=local-dir:FOLDER, or leave the scores out with --scorer none."
    )


def make(options: dict[str, Any]) -> OpenClip:
    try:
        return OpenClip(Options.model_validate(options))
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise BadInput(f"options of the scorer open_clip: {faults} (known: model, pretrained).") from error
