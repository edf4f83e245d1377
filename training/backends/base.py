"""What a family of diffusion transformers brings so that the loop need not know it, and what all of them share.

Shapes: B samples, C latent channels, H and W rows and columns of latents (pixels / 8), L tokens of text, D their width.
A part is what diffusers calls a component: `transformer`, `vae`, `text_encoder`, ...
"""

from __future__ import annotations

import gc
import importlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import torch
from safetensors import safe_open
from torch import Tensor, nn

from pipeline import families, weights
from pipeline.errors import BadInput, MissingWeights

Encoded = dict[str, Tensor]
"""What a transformer reads of one text, by the family's own names; without a batch dimension, on the CPU."""

Device = torch.device | str

ENDINGS = (".json", ".safetensors", ".txt", ".model", ".jinja")
"""Of the files that decide what a part computes; the last three are tokenizers' merges, pieces and chat template."""

VAE: Mapping[str, Any] = {
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "latent_channels": 16,
    "shift_factor": 0.1159,
    "scaling_factor": 0.3611,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
"""The config of FLUX.1's VAE, which Z-Image has taken over."""


_NUMBERS: WeakKeyDictionary[nn.Module, torch.dtype] = WeakKeyDictionary()


def numbers(transformer: Any) -> torch.dtype:
    """The numbers that a transformer computes in. diffusers looks through all its weights for them, 3 ms each time."""
    if transformer not in _NUMBERS:
        _NUMBERS[transformer] = transformer.dtype
    return _NUMBERS[transformer]


def parameters(module: nn.Module) -> int:
    """How many a module has."""
    return sum(weight.numel() for weight in module.parameters())


@dataclass(frozen=True)
class Known:
    """A published model: what can be told of it without its weights."""

    licence: str
    """Its name on the model hub; a LoRA made from the model falls under it."""
    parts: Mapping[str, Mapping[str, Any]]
    """The config of every part, as far as it differs from the defaults of its class, and of the scheduler."""
    turbo: bool = False
    """Whether it was distilled to draw without guidance."""
    text_limit: int | None = None
    """Tokens that its text encoder reads, where they differ from the family's."""


class Backend(ABC):
    """One base model of a family: parts are loaded when asked for, one at a time, and freed by who asked."""

    PIPELINE: ClassVar[str]
    """The class that model_index.json names."""
    BASE: ClassVar[str]
    """The family's name in `pipeline.families`."""
    ENCODERS: ClassVar[tuple[str, ...]]
    """The parts that read text."""
    TOKENIZER: ClassVar[str] = "tokenizer"
    """The part whose tokens are counted."""
    CLASSES: ClassVar[Mapping[str, tuple[str, str]]]
    """Package and name of every part's class."""
    TARGETS: ClassVar[str]
    """A pattern of the whole names of those linear layers of the transformer that the LoRA is put on."""
    KNOWN: ClassVar[Mapping[str, Known]]
    """Published models by their names on the hub."""

    named_by = "--set train.model="
    """How a user names another model; `generate` has an option of its own for it."""

    def __init__(self, model: str | None, revision: str | None = None) -> None:
        self.model, self.revision = model or families.load(self.BASE).model, revision
        self.folder = Path(self.model) if Path(self.model).is_dir() else None
        self._tokenizers: dict[str, Any] = {}
        self._configs: dict[str, Mapping[str, Any]] = {}
        self._identities: dict[str, str] = {}

    # ---- what each family does in its own way

    @abstractmethod
    def encode_text(self, encoders: Mapping[str, nn.Module], texts: Sequence[str]) -> list[Encoded]:
        """What the transformer reads of every text; the same as the model's own pipeline computes."""

    @abstractmethod
    def predict(
        self,
        transformer: nn.Module,
        noisy_BCHW: Tensor,
        sigma_B: Tensor,
        texts: Sequence[Encoded],
        *,
        guidance: float = 1.0,
    ) -> Tensor:
        """The velocity (noise minus image) that the transformer predicts: B x C x H x W.

        Packing into tokens, their places and the family's signs and scales all happen in here.

        Args:
            guidance: strength, for models that take it as an input; others ignore it. Training has 1: with it a LoRA
                learns the data, not the data drawn with an exaggerated text (trainers: ai-toolkit, SimpleTuner,
                OneTrainer and diffusion-pipe all default to 1).
        """

    def as_asked(self, texts: Sequence[str]) -> list[str]:
        """Texts as the tokenizer gets them; a family with a chat template puts it around."""
        return list(texts)

    def guided(
        self,
        transformer: nn.Module,
        noisy_BCHW: Tensor,
        sigma_B: Tensor,
        texts: Sequence[Encoded],
        empty: Encoded,
        guidance: float,
    ) -> Tensor:
        """The velocity that a sample is drawn by, at a strength of the text: B x C x H x W.

        Args:
            empty: the empty text, for families that compare with it.
        """
        return self.predict(transformer, noisy_BCHW, sigma_B, texts, guidance=guidance)

    def part_class(self, part: str) -> Any:
        """The class of a part. Imported when asked for: T5 alone takes two seconds and 200 MB."""
        package, name = self.CLASSES[part]
        return getattr(importlib.import_module(package), name)

    # ---- what can be told without weights

    @cached_property
    def text_limit(self) -> int:
        """Tokens that the text encoder reads."""
        limit = families.load(self.BASE).limit
        if self.folder is None:
            known = self.KNOWN.get(self.model)
            return known.text_limit or limit if known else limit
        return min(limit, int(self.tokenizer(self.TOKENIZER).model_max_length))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of every text as its encoder would get it uncut, marks and chat template included."""
        ids = self.tokenizer(self.TOKENIZER)(self.as_asked(texts), verbose=False).input_ids
        return [len(row) for row in ids]

    @property
    def licence(self) -> str:
        """The model's licence by its name on the hub; of a folder what its model card says, else "unknown"."""
        if self.folder is None:
            known = self.KNOWN.get(self.model)
            return known.licence if known else "unknown"
        import yaml
        from huggingface_hub import metadata_load

        try:
            told = metadata_load(self.folder / "README.md") or {}
        except (OSError, ValueError, yaml.YAMLError):  # no card, or none that can be read
            told = {}
        return str(told.get("license_name") or told.get("license") or "unknown")

    @property
    def text_parts(self) -> tuple[str, ...]:
        """Everything that a text goes through: the encoders and their tokenizers."""
        return (*self.ENCODERS, *(part.replace("text_encoder", "tokenizer") for part in self.ENCODERS))

    def config(self, part: str) -> Mapping[str, Any]:
        """Config of a part or of the scheduler: the model's own file, read once, or what is known of a published one.

        Raises:
            MissingWeights: the model is no folder, not on this machine and not one of those known here.
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
                raise self._missing("there is no such folder, and the hub has no such names") from error
            if not isinstance(found, str):
                if self.model in self.KNOWN:
                    return self.KNOWN[self.model].parts[part]
                raise self._missing("it is none of those that are known here")
            path = Path(found)
        else:
            path = self.folder / file
        try:
            read: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise self._missing(f"{path} can't be read") from error
        return read

    def blank(self, part: str) -> nn.Module:
        """A part of the right shape without weights (meta device): to count parameters and find layers."""
        kind, config = self.part_class(part), dict(self.config(part))
        with torch.device("meta"):
            if hasattr(kind, "from_config"):
                built: nn.Module = kind.from_config(config)
            else:
                built = kind(kind.config_class.from_dict(config))
        return built

    def count(self, part: str) -> int:
        """Parameters of a part: by the headers of a folder's files, which takes no class to be imported, else built."""
        files = sorted((self.folder / part).glob("*.safetensors")) if self.folder else []
        if not files:
            return parameters(self.blank(part))
        counted = 0
        for file in files:
            with safe_open(file, "pt") as opened:
                counted += sum(math.prod(opened.get_slice(key).get_shape()) for key in opened.keys())  # noqa: SIM118
        return counted

    def shape(self, transformer: Any) -> tuple[int, int]:
        """Number of blocks and width of a transformer."""
        blocks = [block for block in transformer.modules() if type(block).__name__ in transformer._repeated_blocks]
        return len(blocks), int(getattr(transformer, "inner_dim", 0) or transformer.dim)

    def identity(self, part: str) -> str:
        """Which weights a part's name stands for: a hash of its files, taken once, or the commit on the hub.

        Raises:
            MissingWeights: they are not on this machine and can't be fetched.
        """
        if self.folder is None:
            return f"{self._commit}/{part}"
        if part not in self._identities:
            files = sorted(file for file in (self.folder / part).glob("*") if file.suffix in ENDINGS)
            if not files:
                raise self._missing(f"the folder {self.folder} has no '{part}'")
            self._identities[part] = weights.folder_hash(files)
        return self._identities[part]

    def check(self) -> None:
        """Asks for everything that training needs of the model, before any work is done.

        Raises:
            MissingWeights: something is not there.
            BadInput: the model is of another family.
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
        try:
            with weights.no_bar(self.model):
                loaded: nn.Module = kind.from_pretrained(self.model, subfolder=part, **named, **pinned, **more)
        except (OSError, ValueError) as error:
            raise self._missing(str(error).strip().partition("\n")[0]) from error
        if "quantization_config" not in more:  # such a model can't be moved, it loads in its place
            loaded = loaded.to(device)
        return loaded.eval().requires_grad_(False)

    @contextmanager
    def loaded(self, parts: Sequence[str], dtype: torch.dtype, device: Device) -> Iterator[dict[str, nn.Module]]:
        """Parts that are freed again at the end: never two phases' weights in memory at once."""
        held = {part: self.load(part, dtype, device) for part in parts}
        try:
            yield held
        finally:
            held.clear()
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    # ---- pictures, alike in all families so far: an AutoencoderKL with one shift and one scale

    @torch.inference_mode()
    def encode_image(self, vae: Any, pixels_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latents, in the scale that the transformer reads: B x C x H x W each, on
        the CPU.

        Args:
            pixels_BCHW: -1..1, sides multiples of 16.
        """
        posterior = vae.encode(pixels_BCHW.to(vae.device, vae.dtype)).latent_dist
        shift, scale = vae.config.shift_factor or 0.0, vae.config.scaling_factor
        return ((posterior.mean.float() - shift) * scale).cpu(), (posterior.std.float() * scale).cpu()

    @torch.inference_mode()
    def decode_image(self, vae: Any, latents_BCHW: Tensor) -> Tensor:
        """Pixels of latents: B x 3 x 8H x 8W, 0..1."""
        shift, scale = vae.config.shift_factor or 0.0, vae.config.scaling_factor
        drawn = vae.decode((latents_BCHW / scale + shift).to(vae.device, vae.dtype)).sample
        pixels: Tensor = (drawn.float() / 2 + 0.5).clamp(0, 1).cpu()
        return pixels

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
        pinned = f" --revision {self.revision}" if self.revision else ""
        return MissingWeights(
            f"the base model '{self.model}' is not on this machine and can't be fetched ({why.rstrip('.')}); on a "
            f"machine with a network run 'hf download {self.model}{pinned}' (gated models want 'hf auth login' first), "
            f"or name a folder as diffusers saves it with {self.named_by}FOLDER."
        )
