"""The styles in which programs name the tensors of a LoRA, and how each reads in diffusers' own.

| style | a key |
|---|---|
| diffusers | `transformer.LAYER.lora_A.weight`; older: `transformer.LAYER.lora.down.weight` |
| peft | `base_model.model.LAYER.lora_A.weight`, with or without `transformer.` and the adapter's name `.default` |
| bare | `LAYER.lora_A.weight` |
| ComfyUI, ai-toolkit | `diffusion_model.LAYER.lora_A.weight`, LAYER often as the base's authors name it |
| kohya | `lora_unet_LAYER.lora_down.weight` with `_` for every dot, and `.alpha` |

Layers under the names of a base's authors (`double_blocks.0.img_attn.qkv`) are translated by diffusers' loader for that
base.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress

from torch import Tensor

from pipeline.progress import LOG

PREFIX = "transformer."
SUFFIXES = (".lora_A.weight", ".lora_B.weight")
ALPHA = ".alpha"

Convert = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
"""Translates A and B under kohya's keys to diffusers'."""

PREFIXES = ("base_model.model.transformer.", "base_model.model.", PREFIX, "diffusion_model.")
KOHYA = "lora_unet_"
ENDS = {
    f".{name}{adapter}.weight": suffix
    for names, suffix in zip(
        (("lora_A", "lora_down", "lora.down"), ("lora_B", "lora_up", "lora.up")), SUFFIXES, strict=True
    )
    for name in names
    for adapter in ("", ".default")
}
TEXT_ENCODERS = ("lora_te", "text_encoder", "base_model.model.text_model.", "text_encoders.")


def is_known(key: str) -> bool:
    """Whether a key is that of a LoRA's matrix or strength, in any style."""
    return key.endswith((*ENDS, ALPHA))


def in_diffusers_style(
    tensors: Mapping[str, Tensor], known: Collection[str] = (), convert: Convert | None = None
) -> dict[str, Tensor]:
    """Tensors under diffusers' keys; what belongs to a text encoder is left out, and the log says so.

    Args:
        known: the linear layers of the base.
        convert: for a file that names none of them. What diffusers can't translate either keeps its names, by which
            the base then finds it unfit.

    Raises:
        ValueError: a layer is there twice, or diffusers translates only a part.
    """
    own = {key: tensor for key, tensor in tensors.items() if not key.startswith(TEXT_ENCODERS)}
    if len(own) < len(tensors):
        LOG.warning("the LoRA's part for the text encoder is left out; the transformer's is used")
    if convert is not None and not any(_layer(key) in known for key in own):
        theirs = {_kohyas(key): tensor for key, tensor in _folded(own).items()}
        # diffusers' converters take a file's layers and widths for granted, and fail in all these ways.
        with suppress(ValueError, KeyError, AssertionError, RuntimeError, NotImplementedError):
            own = dict(convert(theirs))
        if _rows(own) != _rows(theirs):  # a fused layer is split, so its rows are those of its parts together
            raise ValueError("has layers that diffusers leaves out when it translates them; save it in diffusers' keys")
    renamed = {_renamed(key): tensor for key, tensor in own.items()}
    if len(renamed) < len(own):
        raise ValueError("names a layer in two styles; use an undamaged file")
    return renamed


def _rows(tensors: Mapping[str, Tensor]) -> int:
    """Of all B."""
    return sum(tensor.shape[0] for key, tensor in tensors.items() if _split(key)[1] == SUFFIXES[1])


def _split(key: str) -> tuple[str, str]:
    """The layer as it is named, and diffusers' ending."""
    end = next((end for end in (*ENDS, ALPHA) if key.endswith(end)), "")
    prefix = next((prefix for prefix in PREFIXES if key.startswith(prefix)), "")
    return key[len(prefix) : len(key) - len(end)], ENDS.get(end, end)


def _layer(key: str) -> str:
    return _split(key)[0]


def _renamed(key: str) -> str:
    layer, end = _split(key)
    return f"{PREFIX}{layer}{end}"


def _kohyas(key: str) -> str:
    layer, end = _split(key)
    layer = layer if layer.startswith(KOHYA) else KOHYA + layer.replace(".", "_")
    return layer + {SUFFIXES[0]: ".lora_down.weight", SUFFIXES[1]: ".lora_up.weight"}[end]


def _folded(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every strength multiplied into its B: diffusers' converters of some families lose it."""
    alphas = {_layer(key): tensor for key, tensor in tensors.items() if key.endswith(ALPHA)}
    found = {}
    for key, tensor in tensors.items():
        layer, end = _split(key)
        if end == SUFFIXES[1] and layer in alphas:
            found[key] = tensor * float(alphas[layer]) / tensor.shape[-1]
        elif end != ALPHA:
            found[key] = tensor
    return found
