"""Any open_clip model: by architecture and pretrained tag, from the model hub or from a local folder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import files, plugins, weights
from pipeline.errors import BadInput, MissingWeights
from pipeline.progress import LOG

if TYPE_CHECKING:
    from PIL import Image

BATCH = 32
RESIZE = "squash"
"""open_clip's default centre crop would hide both sides of a wide panel; squashed, the whole panel is seen."""
FOLDER, HUB = "local-dir:", "hf-hub:"
CONFIG = "open_clip_config.json"
MOST_CONFIG = 1 << 26
"""Bytes of it."""
DEFAULT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
STEMS = [Path(file).stem for file in DEFAULT_FILES]


class Options(plugins.Options):
    model: str = "ViT-B-32"
    """Name of an open_clip architecture, `hf-hub:ORG/NAME`, or `local-dir:FOLDER`."""
    pretrained: str | None = None
    """Tag of the weights of an architecture; if not set, the default model gets laion2b_s34b_b79k."""

    @property
    def tag(self) -> str | None:
        return "laion2b_s34b_b79k" if self.pretrained is None and self.model == "ViT-B-32" else self.pretrained


class OpenClip:
    needs = "part of a gpu"

    def __init__(self, options: Options) -> None:
        self.options = options

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the loaded weights: another process loads the ones that `identity` names."""
        return {name: value for name, value in vars(self).items() if name != "_loaded"}

    def identity(self) -> dict[str, Any]:
        return {
            "scorer": "open_clip",
            "model": self.options.model,
            "pretrained": self.options.tag,
            "weights": self._weights,
            "kind": self._kind,
            "resize": RESIZE,
        }

    def image_vectors(self, images: Sequence[Image.Image]) -> np.ndarray:
        import torch

        model, transform, _ = self._loaded
        starts = range(0, len(images), BATCH)
        return self._rows(
            model.encode_image,
            (torch.stack([transform(image) for image in images[start : start + BATCH]]) for start in starts),
        )

    def text_vectors(self, texts: Sequence[str]) -> np.ndarray:
        """A text that is too long for the text tower is split at clauses and represented by the mean of its parts."""
        model, _, tokenizer = self._loaded
        parts = [_parts(text.strip(), lambda piece: _fits(piece, tokenizer)) for text in texts]
        flat = [piece for pieces in parts for piece in pieces]
        starts = range(0, len(flat), BATCH)
        vectors = self._rows(model.encode_text, (tokenizer(flat[start : start + BATCH]) for start in starts))
        first, means = 0, []
        for pieces in parts:
            mean = vectors[first : first + len(pieces)].mean(axis=0)
            means.append(mean / np.linalg.norm(mean))
            first += len(pieces)
        return np.stack(means)

    def _rows(self, encode: Callable[..., Any], inputs: Iterable[Any]) -> np.ndarray:
        """What one of the model's towers makes of batches of its inputs, on the model's device.

        Raises:
            BadInput: the GPU's memory is too small.
        """
        import torch

        device = weights.device()
        try:
            with torch.inference_mode(), weights.fit_threads(self._loaded[0]):
                rows = [encode(batch.to(device), normalize=True).float().cpu().numpy() for batch in inputs]
        except torch.OutOfMemoryError as error:
            raise _too_large(self.options) from error
        return np.concatenate(rows)

    @cached_property
    def _weights(self) -> str:
        """The identity of the weights: a hash of a folder's files, a commit on the hub, or a file's name."""
        model, tag = self.options.model, self.options.tag
        if model.startswith(FOLDER):
            folder = Path(model.removeprefix(FOLDER))
            config, found = folder / CONFIG, sorted(folder.glob("*.safetensors"))
            if not config.is_file() or not found:
                raise _missing(self.options, f"{folder} lacks {CONFIG} or a .safetensors file")
            tokenizer = [file for file in sorted(folder.glob("*.json")) if file != config]
            return weights.folder_hash([config, *tokenizer, *found])
        if model.startswith(HUB):
            try:
                return weights.hub_commit(model.removeprefix(HUB), CONFIG)
            except LookupError as error:
                raise _missing(self.options, str(error)) from error
        return self._tagged(model.replace("/", "-"), tag)

    @cached_property
    def _kind(self) -> str:
        """`siglip` for models with a sigmoid loss, which has a bias; their cosine similarities are far below CLIP's."""
        return "siglip" if "init_logit_bias" in self._model_config else "clip"

    @property
    def _model_config(self) -> dict[str, Any]:
        model = self.options.model
        if model.startswith(FOLDER):
            file = Path(model.removeprefix(FOLDER)) / CONFIG
        elif model.startswith(HUB):
            from huggingface_hub import hf_hub_download

            file = Path(hf_hub_download(model.removeprefix(HUB), CONFIG, local_files_only=True))
        else:
            import open_clip

            return dict(open_clip.get_model_config(model.replace("/", "-")))
        try:
            return dict(json.loads(files.read(file, MOST_CONFIG))["model_cfg"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise _missing(self.options, f"{file} can't be read as a model's config: {error}") from error

    def _tagged(self, model: str, tag: str | None) -> str:
        """Fetches the weights of an architecture unless they are on this machine."""
        import open_clip

        if model not in open_clip.list_models():
            near = plugins.suggest(model, open_clip.list_models())
            raise BadInput(f"open_clip has no model '{model}'{near or ';'} name one with --set scorer.model=NAME.")
        found = open_clip.get_pretrained_cfg(model, tag) if tag else None
        if not found:  # without weights open_clip would initialise the model at random
            known = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"
            raise BadInput(
                f"open_clip has no weights '{tag}' for '{model}' (known: {known}); "
                "choose one with --set scorer.pretrained=TAG."
            )
        try:
            if (hub := found.get("hf_hub")) and not _is_here(hub):
                repo, _, file = hub.rpartition("/")
                weights.ask_hub(repo)
                weights.fetch(f"the scorer {model} ({tag})", repo, stems=[Path(file).stem] if file else STEMS)
            file = Path(open_clip.download_pretrained(found))
        except (LookupError, OSError, RuntimeError) as error:
            raise _missing(self.options, str(error).partition("\n")[0]) from error
        return f"{file.parent.name}/{file.name}"

    @cached_property
    def _loaded(self) -> tuple[Any, Any, Any]:
        import open_clip
        import torch

        name = self.options.model
        try:
            with weights.told():
                if name.startswith(HUB):
                    weights.fetch(f"the scorer {name}", name.removeprefix(HUB), stems=STEMS)
                LOG.info("loading the scorer %s", name)
                model, _, transform = open_clip.create_model_and_transforms(
                    name, pretrained=self.options.tag, image_resize_mode=RESIZE, device=weights.device()
                )
                tokenizer = open_clip.get_tokenizer(name)
        except LookupError as error:
            raise _missing(self.options, str(error)) from error
        except torch.OutOfMemoryError as error:
            raise _too_large(self.options) from error
        LOG.info("waiting for the first scores of %s", name)
        return model.eval(), transform, tokenizer


def _is_here(hub: str) -> bool:
    """Whether weights in the form of open_clip's list (`ORG/NAME/` or `ORG/NAME/FILE`) are on this machine."""
    from huggingface_hub import try_to_load_from_cache

    repo, _, file = hub.rpartition("/")
    names = {file, f"{file.rpartition('.')[0]}.safetensors"} if file else set(DEFAULT_FILES)
    return any(isinstance(try_to_load_from_cache(repo, name), str) for name in names)


def _fits(text: str, tokenizer: Any) -> bool:
    """Whether a text fits the text tower: with a larger limit, its tokens are the same, followed only by padding."""
    length = int(tokenizer.context_length)
    tokens, roomy = tokenizer([text])[0], tokenizer([text], context_length=8 * length)[0]
    return bool((roomy[:length] == tokens).all() and (roomy[length:] == roomy[-1]).all())


def _parts(text: str, fits: Callable[[str], bool]) -> list[str]:
    """The text if it fits, else its halves, split recursively until they fit.

    It is split at the clause boundary nearest the middle, else at the nearest space, else in the middle of a word.
    """
    if fits(text):
        return [text]
    middle = len(text) / 2
    found = list(re.finditer(r"[,;:.]\s+", text)) or list(re.finditer(r"\s+", text))
    border = min((border.end() for border in found), key=lambda place: abs(place - middle), default=len(text) // 2)
    return _parts(text[:border].strip(), fits) + _parts(text[border:].strip(), fits)


def _missing(options: Options, why: str) -> MissingWeights:
    name = f"{options.model} ({options.tag})" if options.tag else options.model
    return MissingWeights(
        f"the weights of the scorer '{name}' are not on this machine and can't be fetched ({why.rstrip('.')}); "
        "run once with network access to download them, name a folder with --set scorer.model=local-dir:FOLDER, or "
        "skip the scores with --scorer none."
    )


def _too_large(options: Options) -> BadInput:
    return BadInput(
        f"the scorer '{options.model}' does not fit into the GPU's free memory; choose a smaller one with --set "
        "scorer.model=NAME, or let fewer of Ray's workers share a GPU with --set engine.gpus=1."
    )


def make(options: dict[str, Any]) -> OpenClip:
    return OpenClip(plugins.parse_options(Options, "the scorer open_clip", options))
