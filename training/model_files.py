"""A base model's files: where they lie or which hub commit they are, their configs, and loading them part by part.

A part is what diffusers calls a component: `transformer`, `vae`, `text_encoder`, ... Nothing here computes with one.
"""

from __future__ import annotations

import gc
import importlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import safe_open
from torch import nn

from pipeline import families, weights
from pipeline.errors import BadInput, MissingWeights
from pipeline.families.base import Family
from pipeline.wording import command

Device = torch.device | str

SUFFIXES = (".json", ".safetensors", ".txt", ".model", ".jinja")
"""Of the files that decide what a part computes; the last three are tokenizers' merges, pieces and chat template."""


def parameter_count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


@dataclass(frozen=True)
class Known:
    """A published model: what is known about it without its weights."""

    licence: str
    """Its name on the model hub; a LoRA trained on the model falls under it."""
    parts: Mapping[str, Mapping[str, Any]]
    """The config of every part and of the scheduler, as far as it differs from the defaults of its class."""
    distilled: bool = False
    """Whether it was distilled to sample without guidance."""
    text_limit: int | None = None
    """Tokens that its text encoder reads, if they differ from the family's."""


class ModelFiles:
    """One base model of a family. Parts are loaded on demand, one phase at a time, and freed by the caller."""

    PIPELINE: ClassVar[str]
    """The class that model_index.json names."""
    BASE: ClassVar[str]
    """The family's name in `pipeline.families`."""
    ENCODERS: ClassVar[tuple[str, ...]]
    """The parts that read text."""
    TOKENIZER: ClassVar[str] = "tokenizer"
    """The part whose tokens are counted."""
    CLASSES: ClassVar[Mapping[str, tuple[str, str]]]
    """Package and class name of every part."""
    KNOWN: ClassVar[Mapping[str, Known]]
    """Published models by their names on the hub."""

    named_by = "--set train.model="
    """How the user names another model; `generate` has an option of its own for it."""

    def __init__(self, model: str | None, revision: str | None = None) -> None:
        self.family: Family = families.load(self.BASE)
        self.model, self.revision = model or self.family.model, revision
        self.folder = Path(self.model) if Path(self.model).is_dir() else None
        self._tokenizers: dict[str, Any] = {}
        self._configs: dict[str, Mapping[str, Any]] = {}
        self._identities: dict[str, str] = {}

    @property
    def known(self) -> Known | None:
        """The published model of this name; None for a folder and for any other model on the hub."""
        return None if self.folder else self.KNOWN.get(self.model)

    def part_class(self, part: str) -> Any:
        """The class of a part, imported on demand: T5 alone takes two seconds and 200 MB."""
        package, name = self.CLASSES[part]
        return getattr(importlib.import_module(package), name)

    # ---- text

    @cached_property
    def text_limit(self) -> int:
        """Tokens that the text encoder reads; anything beyond is cut off."""
        limit = self.family.limit
        if self.folder is None:
            return self.known.text_limit or limit if self.known else limit
        return min(limit, int(self.tokenizer(self.TOKENIZER).model_max_length))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of every text before truncation, special tokens and chat template included."""
        ids = self.tokenizer(self.TOKENIZER)(self.templated(texts), verbose=False).input_ids
        return [len(row) for row in ids]

    def templated(self, texts: Sequence[str]) -> list[str]:
        """Texts as the tokenizer gets them; a family with a chat template applies it here."""
        return list(texts)

    @property
    def text_parts(self) -> tuple[str, ...]:
        """All parts that decide what becomes of a text: the encoders and their tokenizers."""
        return (*self.ENCODERS, *(part.replace("text_encoder", "tokenizer") for part in self.ENCODERS))

    # ---- what is known without weights

    @property
    def licence(self) -> str:
        """The licence by its name on the hub; for a folder, what its model card says; otherwise "unknown"."""
        if self.folder is None:
            return self.known.licence if self.known else "unknown"
        import yaml
        from huggingface_hub import metadata_load

        try:
            card = metadata_load(self.folder / "README.md") or {}
        except (OSError, ValueError, yaml.YAMLError):  # no card, or an unreadable one
            card = {}
        return str(card.get("license_name") or card.get("license") or "unknown")

    def config(self, part: str) -> Mapping[str, Any]:
        """Config of a part or of the scheduler: the model's own file, read once, or that of a published model.

        Raises:
            MissingWeights: the model is neither a folder, nor on this machine, nor a published one known here.
        """
        if part not in self._configs:
            self._configs[part] = self._read_config(part)
        return self._configs[part]

    def _read_config(self, part: str) -> Mapping[str, Any]:
        file = f"{part}/{'scheduler_config' if part == 'scheduler' else 'config'}.json"
        if self.folder is None:
            from huggingface_hub import try_to_load_from_cache

            try:
                found = try_to_load_from_cache(self.model, file, revision=self.revision)
            except ValueError as error:
                raise self._missing("it is neither a folder nor a valid name on the hub") from error
            if not isinstance(found, str):
                if self.known:
                    return self.known.parts[part]
                raise self._missing("it is not one of the models known here")
            path = Path(found)
        else:
            path = self.folder / file
        try:
            read: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise self._missing(f"{path} can't be read") from error
        return read

    def blank(self, part: str) -> nn.Module:
        """A part of the right shape without weights (meta device), to count parameters and find layers."""
        kind, config = self.part_class(part), dict(self.config(part))
        with torch.device("meta"):
            if hasattr(kind, "from_config"):
                built: nn.Module = kind.from_config(config)
            else:
                built = kind(kind.config_class.from_dict(config))
        return built

    def count(self, part: str) -> int:
        """Parameters of a part, from the headers of its files (no class is imported); without files it is built."""
        files = sorted((self.folder / part).glob("*.safetensors")) if self.folder else []
        if not files:
            return parameter_count(self.blank(part))
        counted = 0
        for file in files:
            with safe_open(file, "pt") as opened:
                counted += sum(math.prod(opened.get_slice(key).get_shape()) for key in opened.keys())  # noqa: SIM118
        return counted

    def identity(self, part: str) -> str:
        """Which weights the name of a part stands for: a hash of its files, computed once, or the commit on the hub.

        Raises:
            MissingWeights: they are not on this machine and can't be fetched.
        """
        if self.folder is None:
            return f"{self._commit}/{part}"
        if part not in self._identities:
            files = sorted(file for file in (self.folder / part).glob("*") if file.suffix in SUFFIXES)
            if not files:
                raise self._missing(f"the folder {self.folder} has no '{part}'")
            self._identities[part] = weights.folder_hash(files)
        return self._identities[part]

    def check(self) -> None:
        """Makes sure that everything training needs of the model is there, before any work is done.

        Raises:
            MissingWeights: a part is not there.
            BadInput: the model belongs to another family.
        """
        index = self._index()
        if (kind := index.get("_class_name")) != self.PIPELINE:
            raise BadInput(
                f"the model {self.model} is a {kind}, and base={self.BASE} is trained on a {self.PIPELINE}; name "
                f"another model with {self.named_by}MODEL, or another base."
            )
        for part in (*self.ENCODERS, "vae", "transformer"):
            self.identity(part)

    # ---- loading

    def tokenizer(self, part: str = "tokenizer") -> Any:
        """A tokenizer; small, and kept."""
        if part not in self._tokenizers:
            from transformers import AutoTokenizer

            pinned = None if self.folder else self._commit_of(f"{part}/tokenizer_config.json")
            try:
                self._tokenizers[part] = AutoTokenizer.from_pretrained(self.model, subfolder=part, revision=pinned)
            except (OSError, ValueError) as error:
                raise self._missing(str(error).strip().partition("\n")[0]) from error
        return self._tokenizers[part]

    def load(self, part: str, dtype: torch.dtype, device: Device, **more: Any) -> nn.Module:
        """A part with its weights, frozen.

        Args:
            more: passed on to `from_pretrained` (a quantization config).

        Raises:
            MissingWeights: they can't be loaded here.
        """
        kind = self.part_class(part)
        named = {"dtype" if kind.__module__.startswith("transformers") else "torch_dtype": dtype}
        pinned = {"revision": None if self.folder else self._commit}
        weights.announce(f"{part} of {self.model}", self.model, pinned["revision"], part)
        try:
            with weights.no_bar(self.model):
                loaded: nn.Module = kind.from_pretrained(self.model, subfolder=part, **named, **pinned, **more)
        except (OSError, ValueError) as error:
            raise self._missing(str(error).strip().partition("\n")[0]) from error
        if "quantization_config" not in more:  # a quantized model is loaded onto its device and can't be moved
            loaded = loaded.to(device)
        return loaded.eval().requires_grad_(False)

    @contextmanager
    def loaded(self, parts: Sequence[str], dtype: torch.dtype, device: Device) -> Iterator[dict[str, nn.Module]]:
        """Parts that are freed at the end, so that the weights of two phases are never in memory at once."""
        held = {part: self.load(part, dtype, device) for part in parts}
        try:
            yield held
        finally:
            held.clear()
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    # ----

    @cached_property
    def _commit(self) -> str:
        return self._commit_of("model_index.json")

    def _commit_of(self, file: str) -> str:
        try:
            return weights.hub_commit(self.model, file, self.revision)
        except LookupError as error:
            raise self._missing(str(error)) from error

    def _index(self) -> Mapping[str, Any]:
        if self.folder is not None:
            path = self.folder / "model_index.json"
        else:
            from huggingface_hub import hf_hub_download

            path = Path(hf_hub_download(self.model, "model_index.json", revision=self._commit))
        try:
            read: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise self._missing(f"the folder {path.parent} has no model_index.json as diffusers writes it") from error
        return read

    def _missing(self, why: str) -> MissingWeights:
        fetch = command(["hf", "download", self.model, *(["--revision", self.revision] if self.revision else [])])
        return MissingWeights(
            f"the base model '{self.model}' is not on this machine and can't be fetched ({why.rstrip('.')}); on a "
            f"machine with a network run '{fetch}' (gated models need 'hf auth login' first), "
            f"or name a folder as diffusers saves it with {self.named_by}FOLDER."
        )
