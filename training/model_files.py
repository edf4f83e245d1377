"""A base model's files: where they lie or which hub commit they are, their configs, and loading them part by part.

A part is what diffusers calls a component: `transformer`, `vae`, `text_encoder`, ... Nothing here computes with one.
"""

from __future__ import annotations

import gc
import importlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from pipeline import families, files, weights
from pipeline.errors import BadInput, MissingWeights
from pipeline.families.base import Family
from pipeline.wording import command
from training.config import MINIATURE

Device = torch.device | str

SUFFIXES = (".json", ".safetensors", ".txt", ".model", ".jinja")
"""Of the files that decide what a part computes; the last three are tokenizers' merges, pieces and chat template."""


MOST_CONFIG = 1 << 26
"""Bytes of a part's config."""
LAYERS, MOST_LAYERS = ("layers", "blocks"), 1_000
"""How settings that are numbers of layers end, and how many there may be: each is built before anything is loaded."""


def parameter_count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


class _Table(dict[str, Any]):
    """Settings of a file; one that is not there is an error that says so."""

    def __init__(self, read: Mapping[str, Any], missing: Callable[[str], MissingWeights]) -> None:
        super().__init__(read)
        self._missing = missing

    def __missing__(self, key: str) -> Any:
        raise self._missing(key)


def _number(value: object) -> float:
    return value if isinstance(value, int | float) else 0


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

    @property
    def is_miniature(self) -> bool:
        """Whether it is the toolkit's own miniature, by whatever path."""
        return self.folder is not None and self.folder.resolve() == MINIATURE.resolve()

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

        readme = self.folder / "README.md"
        try:
            files.open_regular(readme, MOST_CONFIG).close()
            card = metadata_load(readme) or {}
        except (OSError, ValueError, RecursionError, yaml.YAMLError):  # no card, or an unreadable one
            card = {}
        names = (card.get("license_name"), card.get("license"))
        return next((name for name in names if isinstance(name, str) and name), "unknown")

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
        return self._read_json(path)

    def _read_json(self, path: Path) -> Mapping[str, Any]:
        """
        Raises:
            MissingWeights: it is no file with a table of settings.
        """
        try:
            read = json.loads(files.read(path, MOST_CONFIG))
        except OSError as error:
            raise self._missing(f"{path} can't be read: {error.strerror or error}") from error
        except (ValueError, RecursionError) as error:
            raise self._missing(f"{path} can't be read: {error}") from error
        if not isinstance(read, dict):
            raise self._missing(f"{path} can't be read: it is no table of settings")
        return _Table(read, lambda key: self._missing(f"{path} lacks {key}"))

    def blank(self, part: str, device: Device = "meta") -> nn.Module:
        """A part of the right shape without weights, to count parameters and find layers.

        Args:
            device: another one has memory for weights, unless tensors are fake there.

        Raises:
            MissingWeights: its config is no such part's.
        """
        kind, config = self.part_class(part), dict(self.config(part))
        if many := [key for key, value in config.items() if key.endswith(LAYERS) and _number(value) > MOST_LAYERS]:
            raise self._missing(f"the config of its {part} has {many[0]}={config[many[0]]}, more than {MOST_LAYERS:,}")
        try:
            with weights.told(), torch.device(device):
                if hasattr(kind, "from_config"):
                    built: nn.Module = kind.from_config(config)
                else:
                    built = kind(kind.config_class.from_dict(config))
        except LookupError as error:
            raise self._missing(f"the config of its {part} can't be used: {error}") from error
        return built

    def count(self, part: str) -> int:
        """Parameters of a part, from the headers of its files (no class is imported); without files it is built."""
        found = sorted((self.folder / part).glob("*.safetensors")) if self.folder else []
        if not found:
            return parameter_count(self.blank(part))
        counted = 0
        for path in found:
            try:
                files.open_regular(path).close()  # safetensors itself would wait for a pipe
                with safe_open(path, "pt") as opened:
                    counted += sum(math.prod(opened.get_slice(key).get_shape()) for key in opened.keys())  # noqa: SIM118
            except (OSError, SafetensorError) as error:
                raise self._missing(f"{path} can't be read: {getattr(error, 'strerror', None) or error}") from error
        return counted

    def identity(self, part: str) -> str:
        """Which weights the name of a part stands for: a hash of its files, computed once, or the commit on the hub.

        Raises:
            MissingWeights: they are not on this machine and can't be fetched.
        """
        if self.folder is None:
            return f"{self._commit}/{part}"
        if part not in self._identities:
            found = sorted(file for file in (self.folder / part).glob("*") if file.suffix in SUFFIXES)
            if not found:
                raise self._missing(f"the folder {self.folder} has no '{part}'")
            self._identities[part] = weights.folder_hash(found)
        return self._identities[part]

    @property
    def fits(self) -> bool:
        """Whether the model is of this family, as far as its folder or its name tells."""
        if self.folder is None:
            return self.known is not None or self.model == self.family.model
        try:
            return bool(self._index().get("_class_name") == self.PIPELINE)
        except MissingWeights:
            return False

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

            made = self._text_tool(AutoTokenizer, part, "tokenizer_config.json")
            try:
                with weights.told():
                    math.floor(made.model_max_length)  # it comes from the file as it is
            except LookupError as error:
                raise self._missing(str(error)) from error
            self._tokenizers[part] = made
        return self._tokenizers[part]

    def processor(self, part: str = "processor") -> Any:
        """What prepares texts and pictures for an encoder that sees both; small, and kept."""
        if part not in self._tokenizers:
            from transformers import AutoProcessor

            self._tokenizers[part] = self._text_tool(AutoProcessor, part, "preprocessor_config.json")
        return self._tokenizers[part]

    def _text_tool(self, kind: Any, part: str, file: str) -> Any:
        pinned = None if self.folder else self._commit_of(f"{part}/{file}")
        try:
            with weights.told():
                return kind.from_pretrained(self.model, subfolder=part, revision=pinned)
        except LookupError as error:
            raise self._missing(str(error)) from error

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
        try:
            with weights.told(), weights.no_bars():
                weights.provide(f"{part} of {self.model}", self.model, pinned["revision"], part)
                loaded: nn.Module = kind.from_pretrained(self.model, subfolder=part, **named, **pinned, **more)
        except LookupError as error:
            raise self._missing(str(error)) from error
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
        if not path.exists():
            raise self._missing(f"the folder {path.parent} has no model_index.json as diffusers writes it")
        return self._read_json(path)

    def _missing(self, why: str) -> MissingWeights:
        """The error for a model that can't be used, with the way on."""
        if self.folder is not None:
            return MissingWeights(
                f"the base model in the folder {self.folder} can't be loaded ({why.rstrip('.')}); name one as "
                f"diffusers saves it with {self.named_by}FOLDER, or the model's name on the hub."
            )
        fetch = command(["hf", "download", self.model, *(["--revision", self.revision] if self.revision else [])])
        return MissingWeights(
            f"the base model '{self.model}' is not on this machine and can't be fetched ({why.rstrip('.')}); on a "
            f"machine with a network run '{fetch}' (gated models need 'hf auth login' first), "
            f"or name a folder as diffusers saves it with {self.named_by}FOLDER."
        )
