"""Activations: what autograd keeps of a step of training, worked out from the layers of a transformer without weights.

What is counted is what diffusers' blocks keep, operation by operation; tests count the same on small models of every
architecture.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import nn

from training import machine
from training.backends.base import Backend
from training.config import Config

SINGLE = 4
"""Bytes of a number in 32 bits."""
OF_HEAD = 64
"""Numbers of a token in one head of attention, the fewest of all families."""
GATED = 1.5
"""Wide layers whose outputs are more than so many times what the narrow one reads have a gate among them."""
TWO_STREAMS = re.compile(r"(?:^|\.)(?:\w*_context|add_[qkv]_proj|to_add_out|norm_added_[qk]|txt_\w+)(?:\.|$)")
"""Names of what sees only the text in blocks with layers of their own for it: those of FLUX, SD3 and Qwen-Image."""
KEYS_AND_VALUES = re.compile(r"(?:to_[kv]|add_[kv]_proj)$")
GATE_OF_ATTENTION = re.compile(r"to_gate$")
"""Both read the same as the layers for the queries."""
OUTPUT = re.compile(r"(?:to_out|to_out\.0|to_add_out)$")
"""Layers that read attention's output."""
OUTPUT_OF_BOTH = re.compile(r"(?:to_out|proj_out)$")
"""Layers that read attention's output and the feed-forward part's side by side, in blocks that make both at once."""


@dataclass(frozen=True)
class Sight:
    """What goes through the transformer at once."""

    image: int
    """Tokens of one grid's canvas and its reference images."""
    text: int
    """Tokens of its text, as many as are read at most."""
    together: int
    """Grids."""
    canvas: tuple[int, int]
    """The largest, width and height in pixels."""
    read: int
    """Tokens that the text encoder reads at once, at most: a text and the reference images that it is shown with it."""

    @property
    def tokens(self) -> int:
        """Of one grid."""
        return self.image + self.text


@dataclass(frozen=True)
class Lora:
    """What is trained."""

    layers: frozenset[str]
    """Names of the linear layers that it is on."""
    rank: int
    size: int
    """Parameters."""


@lru_cache(maxsize=2)
def blank(backend: Backend) -> nn.Module:
    """A family's transformer without weights."""
    return backend.blank("transformer")


def peak(backend: Backend, config: Config, lora: Lora, sight: Sight, device: torch.device) -> float:
    """Bytes that a training step's forward and backward pass hold at their peak, beside weights and gradients.

    Autograd keeps what the backward pass reads; with recomputation that is the input of every block, and everything
    only of the block that is recomputed. Blocks without a LoRA before the first with one keep nothing.
    """
    transformer = blank(backend)
    mixed = device.type == "cuda" and machine.base_dtype(config, device) != torch.float32
    size = machine.base_dtype(config, device).itemsize
    width = backend.width(transformer)
    named = {id(module): name for name, module in transformer.named_modules()}
    blocks = {named[id(block)]: block for block in backend.blocks(transformer)}
    learning = {name: _within(name, lora) for name, block in blocks.items() if _within(name, lora)}
    of_tokens = frozenset().union(*learning.values())
    inside = [
        _Block(
            block=blocks[name],
            of_tokens=of_tokens,
            width=width,
            rank=lora.rank,
            of_norm=SINGLE if mixed else size,
            size=size,
            modulation=backend.modulation_per_token,
            fused=machine.weights_format(config, device) in {"fp32", "bf16"},
        )
        for name in learning
    ]
    # The last block's output, and cosine and sine of every token's position.
    outside = sight.tokens * (width * size + 2 * sum(_axes(transformer)) * SINGLE)
    kept = [block.stored(sight) for block in inside]
    passing = [block.passing(sight) for block in inside]
    if machine.recomputes(config, transformer):
        inputs = len(inside) * sight.tokens * width * size
        return sight.together * (outside + inputs + max(map(sum, zip(kept, passing, strict=True))))
    return sight.together * (outside + sum(kept) + max(passing))


def _axes(transformer: Any) -> Sequence[int]:
    """Channels of a head by the axis of positions that turns them; none where positions are added to the tokens."""
    return next((value for key, value in transformer.config.items() if key.startswith("axes_dims")), ())


@dataclass(frozen=True)
class _Block:
    """One block's share in the activations; bytes for one grid."""

    block: nn.Module
    of_tokens: frozenset[str]
    """Names, within a block, of the linear layers that read or write tokens: those that have a LoRA in some block."""
    width: int
    rank: int
    of_norm: int
    """Bytes per number that goes into a norm; under autocast a copy in 32 bits."""
    size: int
    """Bytes per number elsewhere."""
    modulation: int
    """As in `Backend.modulation_per_token`."""
    fused: bool
    """Whether a layer and its LoRA read one input; peft's own has one more, in 32 bits and then in 16."""

    @cached_property
    def layers(self) -> dict[str, nn.Linear]:
        """Linear layers of the tokens, by their names within the block. Those that have no LoRA in this block, as in
        the last one of some families, are counted as if they had."""
        linear = {name: layer for name, layer in self.block.named_modules() if isinstance(layer, nn.Linear)}
        return {name: layer for name, layer in linear.items() if name in self.of_tokens}

    def stored(self, sight: Sight) -> float:
        """What autograd keeps of the block: for every token, numbers times the bytes of one; and the LoRA's weights as
        they computed, where that is in 16 bits."""
        weights = sum(self.rank * (layer.in_features + layer.out_features) for layer in self.layers.values())
        copies = weights * self.size if self.size < SINGLE else 0
        of_image = sight.image if self._has_streams else sight.tokens
        modulation = of_image * self.modulation * self.width * self.size
        return (
            copies + modulation + sum(self._seen(name, sight) * numbers * size for name, numbers, size in self._kept())
        )

    def _kept(self) -> Iterator[tuple[str, int, int]]:
        """Names of modules with what is kept of them per token: numbers, and bytes of each.

        The input of every layer (for the gradient of the LoRA's A) and what A makes of it. Outputs that attention or an
        activation function reads; keys and values as many as queries, since fewer are repeated for attention.
        Attention's output, which in most blocks is the next layer's input. The input of norms. Modulation by frozen
        layers keeps only a vector.
        """
        for name, layer in self.layers.items():
            shares = KEYS_AND_VALUES.search(name)
            # Of a norm's output in 32 bits, queries, keys, values and gate have a copy each.
            alone = self._widened or not self.fused or not (shares or GATE_OF_ATTENTION.search(name))
            yield name, layer.in_features * alone + self.rank, self.size
            if shares or (layer.out_features >= layer.in_features and not OUTPUT.search(name)):
                yield name, max(layer.out_features, self.width), self.size
            if GATE_OF_ATTENTION.search(name):  # attention's output, beside its product with the gate
                yield name, layer.out_features, self.size
        for down, beside in self._gates().items():
            yield down, self.layers[down].in_features, self.size
            for name, layer in beside.items():
                if name not in self.layers:
                    yield name, layer.out_features, self.size
        read = any(OUTPUT.search(name) and layer.in_features == self.width for name, layer in self.layers.items())
        if not read or self._attends_widened:
            yield "", self.width, self.size
        if self._attends_widened and not any(KEYS_AND_VALUES.search(name) for name in self.layers):
            yield "", 2 * self.width, self.size  # queries and keys as cast for attention, beside what they are part of
        yield "", 3 * self.width // OF_HEAD, SINGLE  # what attention and the norms of queries and keys keep of a head
        yield from self._of_norms()

    def _of_norms(self) -> Iterator[tuple[str, int, int]]:
        """What norms keep. One by the root mean square computes in 32 bits, and diffusers' own multiplies what it was
        given by what it finds there, so that it keeps both."""
        from diffusers.models.normalization import RMSNorm

        for name, module in self.block.named_modules():
            kind = type(module).__name__
            if kind.endswith("Norm") and not any(module.children()):
                if "RMS" not in kind or self.size == SINGLE:
                    yield name, self.width, self.of_norm
                else:
                    yield name, self.width, SINGLE + self.size * isinstance(module, RMSNorm)

    def _gates(self) -> dict[str, dict[str, nn.Linear]]:
        """Layers that read the product of a gated activation function, each with those that make its factors, some of
        which may be without a LoRA."""
        linear = {name: one for name, one in self.block.named_modules() if isinstance(one, nn.Linear)}
        found = {}
        for down, layer in self.layers.items():
            if layer.out_features >= layer.in_features or KEYS_AND_VALUES.search(down):  # narrow where heads share them
                continue
            wide = {
                name: one
                for name, one in linear.items()
                if _parent(name) == _parent(down) and one.out_features > one.in_features
            }
            if sum(one.out_features for one in wide.values()) > GATED * layer.in_features:
                found[down] = wide
        return found

    def passing(self, sight: Sight) -> float:
        """What passes through the backward pass at once: the gradients of the input and the output of a layer, one of
        them twice where gated activation functions split it, the input's once more from peft's own LoRA, and the
        gradients before and after a norm; or what the block holds at the end of its forward pass, if that is more."""
        split = {name for down, beside in self._gates().items() for name in (down, *beside)}
        widest = max(
            self._seen(name, sight)
            * (
                layer.in_features
                + layer.out_features
                + (name in split) * max(layer.in_features, layer.out_features)
                + (not self.fused) * layer.in_features
            )
            for name, layer in self.layers.items()
        )
        backward = widest * self.size + 2 * sight.tokens * self.width * self.of_norm
        return max(backward, self._at_its_end(sight))

    def _at_its_end(self, sight: Sight) -> float:
        """What the forward pass of a block under autocast holds last that the backward pass does not read: outputs of
        norms in 32 bits before and after they are modulated; and, where one layer reads attention's output and that of
        an activation function side by side, these and both in 32 bits."""
        norms = [name for name, module in self._widening if isinstance(module, nn.LayerNorm)]
        # What attention and the feed-forward part give, before and after they are weighted; from peft's own LoRA apart.
        halves = (2 if self.fused else 3) * self.size
        held = sum(self._seen(name, sight) * self.width * (2 * SINGLE + halves) for name in norms)
        for name, layer in self.layers.items():
            if self._attends_widened and OUTPUT_OF_BOTH.search(name) and layer.in_features > layer.out_features:
                beside = layer.in_features - self.width
                both = layer.in_features * SINGLE + beside * self.size + self.width * (2 * SINGLE + self.size)
                held = max(held, self._seen(name, sight) * both)
        gradient = sight.tokens * self.width * self.size  # of its output, which waits for it to be recomputed
        return held + gradient if held else 0.0

    @cached_property
    def _widening(self) -> list[tuple[str, nn.Module]]:
        """Norms that give 32 bits under autocast, with their names: torch's own. diffusers' go back to 16."""
        mixed = self.of_norm != self.size
        named = self.block.named_modules() if mixed else ()
        return [(name, module) for name, module in named if isinstance(module, (nn.LayerNorm, nn.RMSNorm))]

    @property
    def _widened(self) -> bool:
        """Whether the layers before attention read 32 bits."""
        return any(isinstance(module, nn.LayerNorm) for _, module in self._widening)

    @property
    def _attends_widened(self) -> bool:
        """Whether attention gives 32 bits, as many as its queries had before they were cast for it."""
        return any(isinstance(module, nn.RMSNorm) for _, module in self._widening)

    @property
    def _has_streams(self) -> bool:
        """Whether image and text have layers of their own."""
        return any(map(_is_of_text, self.layers))

    def _seen(self, name: str, sight: Sight) -> int:
        """Tokens that a module sees: those of one stream in blocks that have two."""
        if not self._has_streams:
            return sight.tokens
        return sight.text if _is_of_text(name) else sight.image


def _is_of_text(name: str) -> bool:
    return bool(TWO_STREAMS.search(name))


def _within(block: str, lora: Lora) -> frozenset[str]:
    """Names, within a block, of its layers with a LoRA."""
    return frozenset(name.removeprefix(f"{block}.") for name in lora.layers if name.startswith(f"{block}."))


def _parent(name: str) -> str:
    return name.rpartition(".")[0]
