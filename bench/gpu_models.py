"""Base models with random weights for `bench.gpu`: folders laid out as diffusers saves them, made without a hub.

The transformer and the VAE have the published shapes, read from the toolkit's own model families, or shapes of a few
thousand parameters. The text encoders are stand-ins with one or two layers and the output width that the transformer
expects: texts are encoded once and the encoders freed before training, so they do not count in a step. Their
tokenizers have one token per letter.

A transformer is written shard by shard from weights drawn on the GPU where there is one, so that 12 billion
parameters never take more than one shard of host memory.
"""

from __future__ import annotations

import json
import math
import shutil
import string
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

SHARD = 4 * 2**30
"""Bytes per file of weights."""
SPARE = 4 * 2**30
"""Bytes of disk that stay free: for data, caches, checkpoints and LoRA files."""
LIMIT = 512
"""Tokens that the text encoders read, as in both published pipelines."""
PIPELINES = {"flux-1": "FluxPipeline", "z-image": "ZImagePipeline"}
SMALL: Mapping[str, Mapping[str, Any]] = {
    "flux-1": {
        "num_layers": 1,
        "num_single_layers": 1,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": 32,
        "pooled_projection_dim": 32,
        "axes_dims_rope": [4, 6, 6],
    },
    "z-image": {
        "dim": 32,
        "n_layers": 2,
        "n_refiner_layers": 1,
        "n_heads": 2,
        "n_kv_heads": 2,
        "cap_feat_dim": 32,
        "axes_dims": [4, 6, 6],
    },
}
"""What a small transformer has other than the published one."""
SMALL_VAE = {"block_out_channels": [8, 8, 8, 8], "layers_per_block": 1, "norm_num_groups": 4}
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

    published = find_backend(family, None, None)
    changes = SMALL[family] if small else {}
    part = folder.with_name(f"{folder.name}.part")
    transformer = _blank(type(published.blank("transformer")), {**published.config("transformer"), **changes})
    _need(folder.parent, 2 * sum(weight.numel() for weight in transformer.parameters()))
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    torch.manual_seed(0)
    write_shards(transformer, part / "transformer", 2**16 if small else SHARD)  # several files at either size
    kind: Any = type(published.blank("vae"))
    vae = kind.from_config({**published.config("vae"), **(SMALL_VAE if small else {})})
    vae.save_pretrained(part / "vae")
    _scheduler(published.config("scheduler")).save_pretrained(part / "scheduler")
    (_flux_texts if family == "flux-1" else _z_image_texts)(transformer.config, part)
    (part / "model_index.json").write_text(json.dumps({"_class_name": PIPELINES[family]}), encoding="utf-8")
    part.rename(folder)


# ---- the transformer


def _blank(kind: Any, config: Mapping[str, Any]) -> Any:
    with torch.device("meta"):
        return kind.from_config(dict(config))


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


def _flux_texts(config: Any, folder: Path) -> None:
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    short, long = _letters(77, start="<s>"), _letters(LIMIT)
    clip = CLIPTextConfig(
        vocab_size=len(short),
        hidden_size=config.pooled_projection_dim,
        projection_dim=config.pooled_projection_dim,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=77,
        pad_token_id=short.pad_token_id,
        bos_token_id=short.bos_token_id,
        eos_token_id=short.eos_token_id,
    )
    t5 = T5Config(
        vocab_size=len(long),
        d_model=config.joint_attention_dim,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        pad_token_id=long.pad_token_id,
        eos_token_id=long.eos_token_id,
    )
    _save(CLIPTextModel(clip), folder / "text_encoder")
    _save(T5EncoderModel(t5), folder / "text_encoder_2")
    short.save_pretrained(folder / "tokenizer")
    long.save_pretrained(folder / "tokenizer_2")


def _z_image_texts(config: Any, folder: Path) -> None:
    from transformers import Qwen3Config, Qwen3Model

    letters = _letters(LIMIT, end=False)
    letters.chat_template = CHAT
    qwen3 = Qwen3Config(
        vocab_size=len(letters),
        hidden_size=config.cap_feat_dim,
        intermediate_size=32,
        num_hidden_layers=2,  # the last but one is read
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=2 * LIMIT,
        pad_token_id=letters.pad_token_id,
        eos_token_id=letters.eos_token_id,
    )
    _save(Qwen3Model(qwen3), folder / "text_encoder")
    letters.save_pretrained(folder / "tokenizer")


def _save(encoder: Any, folder: Path) -> None:
    encoder.to(torch.bfloat16).save_pretrained(folder)


def _letters(length: int, *, start: str | None = None, end: bool = True) -> Any:
    """A tokenizer with one token per letter.

    Args:
        length: tokens that it reads at most.
        start: the mark before every text.
        end: whether the end mark stands after every text.
    """
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    marks = ["<pad>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>", *([start] if start else [])]
    words = {word: index for index, word in enumerate((*marks, *string.printable))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    if end:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{start} $A </s>" if start else "$A </s>",
            special_tokens=[(mark, words[mark]) for mark in marks],
        )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        model_max_length=length,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        bos_token=start,
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
        padding_side="right",
    )
