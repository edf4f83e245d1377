"""Base models with random weights for `bench.gpu`: folders laid out as diffusers saves them, made without a hub.

The transformer and the VAE have the published shapes, read from the toolkit's own model families; small ones are the
models of the contract tests. The text encoders are narrow stand-ins with the output that the transformer expects: texts
are encoded once and the encoders freed before training, so they do not count in a step. Their tokenizers have one token
per letter.

A transformer is written shard by shard from weights drawn on the GPU where there is one, so that 12 billion
parameters never take more than one shard of host memory.
"""

from __future__ import annotations

import importlib
import json
import math
import shutil
import string
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

TESTS = Path(__file__).parents[1] / "tests"
SHARD = 4 * 2**30
"""Bytes per file of weights."""
SPARE = 4 * 2**30
"""Bytes of disk that stay free: for data, caches, checkpoints and LoRA files."""
NARROW = 32
"""Width of the stand-ins' layers between their inputs and outputs."""
SIGHT = {"vision_start": "<|vision_start|>", "image": "<|image_pad|>", "vision_end": "<|vision_end|>"}
"""What stands for a picture in a text, for encoders that see pictures: its marks by their names in configs."""
CHAT = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"


def make(family: str, folder: Path, *, small: bool) -> None:
    """Writes a base model; a folder that is there already is kept.

    Args:
        family: its name in a task file's `base`.
        small: a transformer and a VAE of a few thousand parameters instead of the published ones.

    Raises:
        OSError: the disk has too little room.
    """
    if folder.exists():
        return
    from training.job import find_backend

    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    backend = find_backend(family, None, None)
    transformer: Any = backend.blank("transformer")
    _need(folder.parent, 0 if small else 2 * sum(weight.numel() for weight in transformer.parameters()))
    torch.manual_seed(0)
    if small:
        _tiny(backend, part)
    else:
        part.mkdir()
        write_shards(transformer, part / "transformer", SHARD)
        backend.part_class("vae").from_config(dict(backend.config("vae"))).save_pretrained(part / "vae")
        _scheduler(backend.config("scheduler")).save_pretrained(part / "scheduler")
        for encoder in backend.ENCODERS:
            _text(backend, encoder, part)
        (part / "model_index.json").write_text(json.dumps({"_class_name": backend.PIPELINE}), encoding="utf-8")
    part.rename(folder)


def _tiny(backend: Any, folder: Path) -> None:
    """The small model of the family's contract test: by the backend's own `tiny`, or by the function of its file's name
    in a file `tests/tiny*.py`.

    Raises:
        LookupError: there is none.
    """
    module = sys.modules[type(backend).__module__]
    name, build = module.__name__.rpartition(".")[2], getattr(module, "tiny", None)
    sys.path.insert(0, str(TESTS))
    for file in sorted(TESTS.glob("tiny*.py")):
        build = build or getattr(importlib.import_module(file.stem), name, None)
    if build is None:
        raise LookupError(f"there is no small model for the backend {name}: give it a function tiny(folder).")
    build(folder)


# ---- the transformer


def _need(folder: Path, size: int) -> None:
    if (free := shutil.disk_usage(folder).free) < size + SPARE:
        raise OSError(
            f"{folder} has {free / 2**30:.0f} GiB free, and {(size + SPARE) / 2**30:.0f} are needed; name another "
            "folder with --work."
        )


def write_shards(transformer: Any, folder: Path, shard: int) -> None:
    """Random bfloat16 weights for a transformer on the meta device, with the index that diffusers reads.

    Args:
        shard: bytes after which the next file begins.
    """
    transformer.save_config(folder)
    stem, files = "diffusion_pytorch_model", list(shards(transformer, shard))
    places: dict[str, str] = {}
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for number, shapes in enumerate(files, start=1):
        file = f"{stem}-{number:05d}-of-{len(files):05d}.safetensors"
        tensors = {name: _random(name, shape, device).cpu() for name, shape in shapes.items()}
        save_file(tensors, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(shapes, file)
    total = 2 * sum(math.prod(shape) for shapes in files for shape in shapes.values())
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def shards(transformer: nn.Module, size: int) -> Iterator[dict[str, torch.Size]]:
    """The tensors of every file by name; `size` as `shard` above."""
    shapes: dict[str, torch.Size] = {}
    for name, tensor in transformer.state_dict().items():
        shapes[name] = tensor.shape
        if 2 * sum(math.prod(shape) for shape in shapes.values()) >= size:
            yield shapes
            shapes = {}
    if shapes:
        yield shapes


def _random(name: str, shape: torch.Size, device: torch.device) -> Tensor:
    """Norms scale by one, biases are zero, and a matrix keeps the size of what goes through it."""
    if len(shape) < 2:  # noqa: PLR2004
        return torch.full(shape, 0.0 if name.endswith("bias") else 1.0, dtype=torch.bfloat16, device=device)
    return torch.randn(shape, dtype=torch.bfloat16, device=device) / math.sqrt(shape[-1])


def _scheduler(config: Mapping[str, Any]) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(**config)  # type: ignore[no-untyped-call]


# ---- stand-ins for the text encoders


def _text(backend: Any, part: str, folder: Path) -> None:
    """A stand-in for a text encoder, and what prepares texts and pictures for it."""
    config = backend.config(part)
    length = config.get("max_position_embeddings", backend.family.limit)
    words = _letters(min(length, backend.family.limit), start="<s>" if length < backend.family.limit else None)
    kind: Any = backend.part_class(part)
    made = kind(kind.config_class.from_dict(narrowed(config, words)))
    made.to(torch.bfloat16).save_pretrained(folder / part)
    tokenizer = part.replace("text_encoder", "tokenizer")
    if tokenizer in backend.text_parts:
        words.save_pretrained(folder / tokenizer)
    if "processor" in backend.text_parts:
        _processor(made.config, words).save_pretrained(folder / "processor")


def _processor(config: Any, words: Any) -> Any:
    """What prepares texts and pictures for an encoder that sees both.

    Args:
        config: the encoder's.
        words: its tokenizer.
    """
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
    from transformers.models.auto.video_processing_auto import VIDEO_PROCESSOR_MAPPING

    sizes = {"patch_size": config.vision_config.patch_size, "merge_size": config.vision_config.spatial_merge_size}
    mappings: tuple[Any, ...] = (IMAGE_PROCESSOR_MAPPING, VIDEO_PROCESSOR_MAPPING, PROCESSOR_MAPPING)
    pictures, films, both = (mapping[type(config)] for mapping in mappings)
    pictures, films = (kinds["torchvision"](**sizes) for kinds in (pictures, films))
    return both(image_processor=pictures, video_processor=films, tokenizer=words)


def narrowed(config: Mapping[str, Any], words: Any) -> dict[str, Any]:
    """A text encoder's config with few words and narrow layers: as deep as before, since families read several layers,
    and with the same output.

    Args:
        words: its tokenizer.
    """
    found = {key: narrowed(value, words) if key.endswith("_config") else value for key, value in config.items()}
    if "vocab_size" in found:
        marks = {f"{mark}_token_id": getattr(words, f"{mark}_token_id") for mark in ("pad", "bos", "eos")}
        found |= {"vocab_size": len(words)} | {key: value for key, value in marks.items() if value is not None}
    if "vision_config" in found:
        found |= {f"{name}_token_id": words.convert_tokens_to_ids(mark) for name, mark in SIGHT.items()}
    found |= {key: NARROW for key in ("intermediate_size", "d_ff") if key in found}
    for size, heads in (("head_dim", "num_attention_heads"), ("d_kv", "num_heads")):
        if size in found:  # otherwise the width is divided among the heads
            found[heads] = 4
    if "head_dim" in found:
        found["num_key_value_heads"] = 1
    return found


def _letters(length: int, *, start: str | None = None) -> Any:
    """A tokenizer with one token per letter.

    Args:
        length: tokens that it reads at most.
        start: the mark before every text.
    """
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    turns = ["<|im_start|>", "<|im_end|>"]
    marks = ["<pad>", "</s>", "<unk>", *turns, *SIGHT.values(), *([start] if start else [])]
    words = {word: index for index, word in enumerate((*marks, *string.printable))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A </s>" if start else "$A </s>", special_tokens=[(mark, words[mark]) for mark in marks]
    )
    letters = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        model_max_length=length,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        bos_token=start,
        additional_special_tokens=[*turns, *SIGHT.values()],
        padding_side="right",
    )
    letters.chat_template = CHAT
    return letters
