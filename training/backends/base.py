"""The seam of a model family: everything that differs from one family of diffusion transformers to the next.

A backend says how latents are made and shaped, how text is read, which noise levels are used, how guidance works, where
the LoRA goes and what becomes of reference images. Nothing else in training knows a stride, a channel count or a shift.

Shapes: B grids, C latent channels, H and W rows and columns of latents, N tokens, K channels of a token, L tokens of
text, D their width. Latents leave a backend as C x H x W whatever its VAE and its transformer make of them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from training import objective
from training.model_files import ModelFiles

Encoded = dict[str, Tensor]
"""What a transformer reads of one text, by the family's own names; without a batch dimension, on the CPU."""

References = Sequence[Sequence[Tensor]]
"""Latents of the reference images, one list per grid, C x H x W each; empty where no grid has any."""

Guidance = Literal["embedded", "classifier-free", "none"]
Spacing = Literal["even", "beta", "to the lowest"]
"""How a model's samples are guided: the strength is an input of the transformer; the prediction for the prompt is moved
away from the one for an empty prompt; or not at all, as in models distilled to sample without."""

FLUX_VAE: Mapping[str, Any] = {
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
"""The config of FLUX.1's VAE, which Z-Image uses as well."""

_DTYPES: WeakKeyDictionary[nn.Module, torch.dtype] = WeakKeyDictionary()


def dtype_of(transformer: Any) -> torch.dtype:
    """The dtype that a transformer computes in. diffusers searches all its weights for it, 3 ms each time."""
    if transformer not in _DTYPES:
        _DTYPES[transformer] = transformer.dtype
    return _DTYPES[transformer]


@dataclass(frozen=True)
class Prompts:
    """What grids are sampled from, one entry per grid."""

    texts: Sequence[Encoded]
    empty: Sequence[Encoded]
    """The empty text, read together with the same reference images; for classifier-free guidance."""
    references: References = ()


@dataclass(frozen=True)
class NoiseShift:
    """How noise levels are shifted: by one factor, or by e^mu with mu on a line over the tokens of the canvas."""

    factor: float = 1.0
    ends: tuple[float, float] | None = None
    """mu at 256 and at 4,096 tokens; None for one factor."""
    spacing: Spacing = "even"
    """How the levels are spaced before they are shifted: evenly, with 0 one step below the last; by a beta
    distribution; or evenly down to the lowest level of training, with 0 just below."""
    terminal: float | None = None
    """The last level before 0, to which the shifted ones are stretched; None if they stay as they are."""

    def log_factor(self, tokens: int) -> float:
        """Logarithm of the factor on a canvas of so many tokens."""
        if self.ends is None:
            return math.log(self.factor)
        low, high = self.ends
        return low + (high - low) * (tokens - 256) / (4_096 - 256)


class Backend(ModelFiles, ABC):
    """One base model of a family."""

    TARGETS: ClassVar[str]
    """A pattern of the full names of the transformer's linear layers that get a LoRA."""
    STRIDE: ClassVar[int]
    """Pixels per latent, in either direction."""
    NEUTRAL: ClassVar[float] = 1.0
    """The guidance up to which the prediction for the prompt is taken as it is (classifier-free guidance only)."""
    REFERENCES: ClassVar[int] = 0
    """The most reference images that a grid may have."""
    REFERENCE_PIXELS: ClassVar[int] = 1024 * 1024
    """The largest area at which a reference image is encoded."""
    ENCODER_SEES_REFERENCES: ClassVar[bool] = False
    """Whether the text encoder is shown the reference images, so that what it makes of a text depends on them."""
    READS_GIVEN: ClassVar[bool] = False
    """Whether the transformer has channels of its own for given panels, which are then always clean."""
    CALL: ClassVar[Mapping[str, str]] = {}
    """Further arguments with which the pipeline draws a text alone, as Python in which WIDTH and HEIGHT are the
    canvas's, and Image is Pillow's."""
    PIPELINE_NEEDS_REFERENCES: ClassVar[bool] = False
    """Whether the model's own pipeline refuses to draw without a reference image."""

    @property
    def targets(self) -> str:
        """TARGETS, in families whose last block differs from the others without what differs."""
        return self.TARGETS

    # ---- what other programs call things

    def pipeline_guidance(self, strength: float) -> dict[str, object]:
        """The arguments that guide the model's own pipeline in diffusers as `guided` does with an empty prompt."""
        return {"guidance_scale": strength}

    def lora_in_diffusers_keys(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """A LoRA under the names that the base's authors gave its layers, translated by diffusers' loader.

        Args:
            tensors: A and B by kohya's keys.

        Raises:
            ValueError: diffusers doesn't know the layers; also KeyError, AssertionError and others that its converters
                raise.
        """
        import diffusers

        found: Mapping[str, Tensor] = getattr(diffusers, self.PIPELINE).lora_state_dict(dict(tensors))
        return found

    # ---- latents

    @property
    def token(self) -> int:
        """The sides of panels are multiples of it, in pixels: those of a token, or of several that belong together."""
        return self.family.token

    @property
    def channels(self) -> int:
        """Channels of the latents."""
        return int(self.config("vae")["latent_channels"])

    def latent_shape(self, canvas: tuple[int, int]) -> tuple[int, int, int]:
        """C, H and W of the latents of a canvas.

        Args:
            canvas: width and height in pixels.
        """
        width, height = canvas
        return self.channels, height // self.STRIDE, width // self.STRIDE

    def latent_boxes(self, boxes: Sequence[objective.Box]) -> tuple[objective.Box, ...]:
        """Boxes in pixels as boxes in latents."""
        s = self.STRIDE
        return tuple((left // s, top // s, right // s, bottom // s) for left, top, right, bottom in boxes)

    def tokens(self, canvas: tuple[int, int]) -> int:
        """Tokens of an image of this width and height in pixels."""
        return math.prod(canvas) // self.token**2

    @torch.inference_mode()
    def encode_image(self, vae: Any, pixels_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latents as the transformer reads them: B x C x H x W each, on the CPU.

        This one is for an AutoencoderKL with one shift and one scale.

        Args:
            pixels_BCHW: -1..1, sides multiples of the token's.
        """
        posterior = vae.encode(pixels_BCHW.to(vae.device, vae.dtype)).latent_dist
        shift, scale = vae.config.shift_factor or 0.0, vae.config.scaling_factor
        return ((posterior.mean.float() - shift) * scale).cpu(), (posterior.std.float() * scale).cpu()

    @torch.inference_mode()
    def decode_image(self, vae: Any, latents_BCHW: Tensor) -> Tensor:
        """Pixels of latents: B x 3 x height x width, 0..1, on the CPU."""
        shift, scale = vae.config.shift_factor or 0.0, vae.config.scaling_factor
        decoded = vae.decode((latents_BCHW / scale + shift).to(vae.device, vae.dtype)).sample
        pixels: Tensor = (decoded.float() / 2 + 0.5).clamp(0, 1).cpu()
        return pixels

    def reference_size(self, size: tuple[int, int], scale: float = 1.0) -> tuple[int, int]:
        """Width and height at which a reference image of this size is encoded.

        It keeps its shape, is never enlarged by more than the rounding to whole tokens, and stays within
        REFERENCE_PIXELS.

        Args:
            scale: of the canvas that is drawn; reference images are scaled with it.
        """
        scale *= min(1.0, math.sqrt(self.REFERENCE_PIXELS / math.prod(size)))
        return self.whole_tokens(size, scale)

    def whole_tokens(self, size: tuple[int, int], scale: float) -> tuple[int, int]:
        """A size times a factor, rounded down to whole tokens, of which there is at least one in each direction."""
        width, height = (max(1, int(side * scale / self.token)) * self.token for side in size)
        return width, height

    # ---- text

    def text_tokens(self, longest: int, pictures: int = 0) -> int:
        """Tokens of text that the transformer gets of one grid, at the most; the limit in families that fill every text
        up to it.

        Args:
            longest: tokens of the longest caption.
            pictures: `picture_tokens` of the reference images that are read with it.
        """
        return self.text_limit + pictures

    def picture_tokens(self, size: tuple[int, int]) -> int:
        """Tokens as which the text encoder sees a reference image; 0 unless ENCODER_SEES_REFERENCES.

        Args:
            size: width and height of the image in pixels, as it is.
        """
        return 0

    @abstractmethod
    def encode_text(
        self,
        encoders: Mapping[str, nn.Module],
        texts: Sequence[str],
        references: Sequence[Sequence[Image.Image]] = (),
    ) -> list[Encoded]:
        """What the transformer reads of every text, exactly as the model's own pipeline computes it.

        Args:
            references: the reference images of each text; empty unless ENCODER_SEES_REFERENCES.
        """

    # ---- the transformer

    def with_given(self, noisy_BCHW: Tensor, given_BCHW: Tensor, mask: Tensor) -> Tensor:
        """A canvas with given panels as `predict` takes it. Here they stand in their places.

        A family with READS_GIVEN leaves the canvas noised and appends them as channels.

        Args:
            given_BCHW: latents of the given panels in their places; the rest is ignored.
            mask: 1 on given panels, 0 elsewhere: H x W for all grids, or B x 1 x H x W.
        """
        return torch.lerp(noisy_BCHW, given_BCHW, mask)

    @abstractmethod
    def predict(
        self,
        transformer: nn.Module,
        noisy_BCHW: Tensor,
        sigma_B: Tensor,
        texts: Sequence[Encoded],
        *,
        references: References = (),
        guidance: float = 1.0,
    ) -> Tensor:
        """The velocity (noise minus image) that the transformer predicts: B x C x H x W.

        Packing into tokens, positions and the family's signs and scales all happen in here.

        Args:
            noisy_BCHW: what `with_given` returns, or latents alone if nothing is given.
            references: on the device of the latents; empty in families with REFERENCES of 0.
            guidance: strength for models with embedded guidance; others ignore it. Training uses 1, so that a LoRA
                learns the data, not the data as it looks with an exaggerated prompt (ai-toolkit, SimpleTuner,
                OneTrainer and diffusion-pipe all default to 1).
        """

    @property
    @abstractmethod
    def guidance(self) -> Guidance:
        """How samples of this model are guided."""

    def guided(
        self, transformer: nn.Module, noisy_BCHW: Tensor, sigma_B: Tensor, prompts: Prompts, strength: float
    ) -> Tensor:
        """The velocity that a sampling step follows: B x C x H x W."""
        embedded = strength if self.guidance == "embedded" else 1.0
        towards = self.predict(
            transformer, noisy_BCHW, sigma_B, prompts.texts, references=prompts.references, guidance=embedded
        )
        if self.guidance != "classifier-free" or strength <= self.NEUTRAL:
            return towards
        plain = self.predict(transformer, noisy_BCHW, sigma_B, prompts.empty, references=prompts.references)
        return towards + (strength - self.NEUTRAL) * (towards - plain)

    def blocks(self, transformer: nn.Module) -> list[nn.Module]:
        """The transformer's blocks, which are checkpointed and compiled one by one.

        They are the members of its own module lists. diffusers' `_repeated_blocks` names their classes, but is empty
        for some models (SD3.5).

        Raises:
            NotImplementedError: it has no such lists, so the family must override this.
        """
        lists = [child for child in transformer.children() if isinstance(child, nn.ModuleList)]
        if not (found := [block for children in lists for block in children]):
            raise NotImplementedError(f"{type(transformer).__name__} has no lists of blocks; override blocks().")
        return found

    def width(self, transformer: Any) -> int:
        """Width of a token inside the transformer."""
        return int(getattr(transformer, "inner_dim", 0) or transformer.dim)

    @property
    def modulation_per_token(self) -> int:
        """Vectors of a token's width by which a block multiplies each token of its image stream for itself, since clean
        reference images and the noised canvas have different noise levels; 0 where one vector serves all tokens."""
        return 0

    # ---- noise levels

    def shift(self, tokens: int) -> float:
        """The factor by which training shifts noise levels towards noise on a canvas of so many tokens: the family's,
        or else that of sampling."""
        return self.family.shift or shift_factor(self.config("scheduler"), tokens)

    def draw_sigma(self, tokens: int, generator: torch.Generator) -> Tensor:
        """One noise level to train at; a scalar tensor on the CPU."""
        return objective.draw_sigma(self.shift(tokens), generator)

    def noise_shift(self, steps: int, tokens: int) -> NoiseShift:
        """How the noise levels of sampling are shifted, on a canvas of so many tokens."""
        scheduler = self.config("scheduler")
        spacing: Spacing = "beta" if scheduler.get("use_beta_sigmas") else "even"
        terminal = scheduler.get("shift_terminal") or None
        if scheduler.get("use_dynamic_shifting"):
            ends = (_mu(scheduler, 256), _mu(scheduler, 4_096))
            return NoiseShift(ends=ends, spacing=spacing, terminal=terminal)
        return NoiseShift(factor=float(scheduler["shift"]), spacing=spacing, terminal=terminal)

    def mu(self, scheduler: Any, steps: int, tokens: int) -> float:
        """The logarithm of the factor by which a scheduler with dynamic shifting shifts the levels of sampling."""
        from diffusers.pipelines.flux.pipeline_flux import calculate_shift

        ends = (scheduler.base_image_seq_len, scheduler.max_image_seq_len, scheduler.base_shift, scheduler.max_shift)
        found: float = calculate_shift(tokens, *ends)
        return found

    def noise_levels(self, steps: int, tokens: int) -> Tensor:
        """The noise levels of sampling from 1 to 0, as the model's own pipeline spaces them; steps + 1 values."""
        from diffusers import FlowMatchEulerDiscreteScheduler

        scheduler = FlowMatchEulerDiscreteScheduler.from_config(dict(self.config("scheduler")))  # type: ignore[no-untyped-call]
        known: Any = scheduler.config
        mu = self.mu(known, steps, tokens) if known.use_dynamic_shifting else None
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps).tolist(), mu=mu)
        levels: Tensor = scheduler.sigmas
        return levels.cpu()


def shift_factor(scheduler: Mapping[str, Any], tokens: int) -> float:
    """The factor by which noise levels are shifted on a canvas of so many tokens, as at inference.

    Models whose shift follows the resolution (FLUX.1-dev) use e^mu, with mu on a line from `base_shift` at
    `base_image_seq_len` to `max_shift` at `max_image_seq_len` tokens (diffusers, pipeline_flux.py, calculate_shift).
    Training caps it at `max_shift`: at 1024 x 1536 pixels the line reaches a factor of 4.5, where hardly any step would
    see little noise. Other models (FLUX.1-schnell, Z-Image) have one factor.

    Args:
        scheduler: the model's scheduler_config.json.
    """
    if not scheduler.get("use_dynamic_shifting"):
        return float(scheduler.get("shift", 1.0))
    return math.exp(min(_mu(scheduler, tokens), scheduler.get("max_shift", 1.15)))


def _mu(scheduler: Mapping[str, Any], tokens: int) -> float:
    low, high = int(scheduler.get("base_image_seq_len", 256)), int(scheduler.get("max_image_seq_len", 4_096))
    least, most = float(scheduler.get("base_shift", 0.5)), float(scheduler.get("max_shift", 1.15))
    return least + (most - least) * (tokens - low) / (high - low)


def grouped(keys: Sequence[Hashable], predict: Callable[[list[int]], Tensor]) -> Tensor:
    """Predictions for grids of which only those with equal keys make a batch: with references of the same sizes, say.

    Args:
        predict: for the grids at these places.
    """
    places: dict[Hashable, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    order = torch.tensor([place for alike in places.values() for place in alike])
    return torch.cat([predict(alike) for alike in places.values()])[order.argsort()]


def sizes_of(references: References) -> list[tuple[torch.Size, ...]]:
    """The shapes of each grid's references, as keys for `grouped`."""
    return [tuple(one.shape for one in images) for images in references]


# ---- packing, for families whose tokens are squares of two by two latents


def pack(latents_BCHW: Tensor) -> Tensor:
    """Squares of two by two latents as tokens, row by row: B x HW/4 x 4C, a token's channels before its four places."""
    b, c, h, w = latents_BCHW.shape
    squares = latents_BCHW.reshape(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return squares.reshape(b, h * w // 4, 4 * c)


def unpack(tokens_BNK: Tensor, height: int, width: int) -> Tensor:
    """The inverse of `pack`: B x C x height x width latents."""
    b, _, k = tokens_BNK.shape
    squares = tokens_BNK.reshape(b, height // 2, width // 2, k // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return squares.reshape(b, k // 4, height, width)
