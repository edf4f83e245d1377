"""FLUX.2 [klein]: three layers of Qwen3 as text, a VAE of 128 normalised channels, up to four references as tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from training.backends.base import (
    Backend,
    Encoded,
    Guidance,
    NoiseShift,
    References,
    dtype_of,
    grouped,
    sizes_of,
)
from training.model_files import Known

LAYERS = (9, 18, 27)
"""Of Qwen3, whose hidden states stand side by side in a text token."""
APART = 10
"""Between one reference and the next on the first axis of positions; the canvas is at 0."""

_VAE = {
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "latent_channels": 32,
    "patch_size": [2, 2],
}
_SCHEDULER = {
    "use_dynamic_shifting": True,
    "shift": 3.0,
    "base_shift": 0.5,
    "max_shift": 1.15,
    "base_image_seq_len": 256,
    "max_image_seq_len": 4_096,
}
"""Training goes by it, as musubi-tuner's `flux2_shift` does (docs/flux_2.md); sampling by the authors' own fit."""


def _qwen3(width: int, inner: int) -> dict[str, Any]:
    """Qwen3 of 4 or 8 billion parameters."""
    heads = {"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}
    return {"vocab_size": 151_936, "hidden_size": width, "intermediate_size": inner, "num_hidden_layers": 36, **heads}


def _parts(layers: int, single: int, heads: int, qwen3: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    transformer = {
        "patch_size": 1,
        "in_channels": 128,
        "num_layers": layers,
        "num_single_layers": single,
        "attention_head_dim": 128,
        "num_attention_heads": heads,
        "joint_attention_dim": len(LAYERS) * qwen3["hidden_size"],
        "mlp_ratio": 3.0,
        "axes_dims_rope": [32, 32, 32, 32],
        "rope_theta": 2_000,
        "guidance_embeds": False,
    }
    return {"transformer": transformer, "vae": _VAE, "text_encoder": qwen3, "scheduler": _SCHEDULER}


_4B = _parts(5, 20, 24, _qwen3(2_560, 9_728))
_9B = _parts(8, 24, 32, _qwen3(4_096, 12_288))


class Klein(Backend):
    PIPELINE = "Flux2KleinPipeline"
    BASE = "flux-2-klein"
    ENCODERS = ("text_encoder",)
    CLASSES: ClassVar[Mapping[str, tuple[str, str]]] = {
        "transformer": ("diffusers", "Flux2Transformer2DModel"),
        "vae": ("diffusers", "AutoencoderKLFlux2"),
        "text_encoder": ("transformers", "Qwen3Model"),  # without the head that would predict the next token
    }
    STRIDE = 16
    REFERENCES = 4
    # Every linear layer that reads or writes tokens. A single block has its attention and its feed-forward layer in one
    # projection each; its to_out is a linear layer, where that of a double block is a list of one and a dropout.
    TARGETS = (
        r"transformer_blocks\.\d+\.(?:attn\.(?:to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)"
        r"|ff(?:_context)?\.linear_(?:in|out))"
        r"|single_transformer_blocks\.\d+\.attn\.(?:to_qkv_mlp_proj|to_out)"
    )
    # The base models are the ones to train; LoRAs also work on the distilled ones, which sample in four steps.
    KNOWN: ClassVar[Mapping[str, Known]] = {
        f"black-forest-labs/FLUX.2-klein-{name}": Known(licence=licence, parts=parts, distilled=distilled)
        for name, licence, parts, distilled in (
            ("base-4B", "apache-2.0", _4B, False),
            ("4B", "apache-2.0", _4B, True),
            ("base-9B", "flux-non-commercial-license", _9B, False),
            ("9B", "flux-non-commercial-license", _9B, True),
        )
    }

    @cached_property
    def _distilled(self) -> bool:
        """Whether it was distilled to sample without guidance, as its model_index.json says."""
        return self.known.distilled if self.known else bool(self._index().get("is_distilled"))

    @property
    def guidance(self) -> Guidance:
        return "none" if self._distilled else "classifier-free"

    # ---- latents

    @property
    def channels(self) -> int:
        """Of squares of two by two of the VAE's latents."""
        return 4 * super().channels

    @torch.inference_mode()
    def encode_image(self, vae: Any, pixels_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Squares of two by two latents as channels, each normalised by the statistics that the VAE holds."""
        posterior = vae.encode(pixels_BCHW.to(vae.device, vae.dtype)).latent_dist
        shift, scale = _statistics(vae)
        mean, std = (_squares(part.float()) for part in (posterior.mean, posterior.std))
        return ((mean - shift) / scale).cpu(), (std / scale).cpu()

    @torch.inference_mode()
    def decode_image(self, vae: Any, latents_BCHW: Tensor) -> Tensor:
        shift, scale = _statistics(vae)
        latents = torch.nn.functional.pixel_shuffle(latents_BCHW.to(vae.device) * scale + shift, 2)
        pixels: Tensor = (vae.decode(latents.to(vae.dtype)).sample.float() / 2 + 0.5).clamp(0, 1).cpu()
        return pixels

    # ---- text

    def templated(self, texts: Sequence[str]) -> list[str]:
        """Texts in Qwen3's chat template, with the empty thought that turns thinking off."""
        return [
            self.tokenizer().apply_chat_template(
                [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True, enable_thinking=False
            )
            for text in texts
        ]

    @torch.inference_mode()
    def encode_text(
        self,
        encoders: Mapping[str, Any],
        texts: Sequence[str],
        references: Sequence[Sequence[Image.Image]] = (),
    ) -> list[Encoded]:
        """`text` (L x 3D): three layers' hidden states, padded to the limit; the transformer sees the padding too."""
        qwen3 = encoders["text_encoder"]
        read = self.tokenizer()(
            self.templated(texts),
            padding="max_length",
            max_length=self.text_limit,
            truncation=True,
            return_tensors="pt",
        ).to(qwen3.device)
        asked = {"attention_mask": read.attention_mask, "output_hidden_states": True, "use_cache": False}
        states = qwen3(input_ids=read.input_ids, **asked).hidden_states
        return [{"text": one} for one in torch.cat([states[layer] for layer in LAYERS], dim=-1).cpu()]

    # ---- the transformer

    def predict(
        self,
        transformer: Any,
        noisy_BCHW: Tensor,
        sigma_B: Tensor,
        texts: Sequence[Encoded],
        *,
        references: References = (),
        guidance: float = 1.0,
    ) -> Tensor:
        """References follow the canvas as more tokens, ten apart on the first axis of positions."""
        references = references or [()] * len(texts)
        device, dtype = noisy_BCHW.device, dtype_of(transformer)

        def of(places: list[int]) -> Tensor:
            images = [noisy_BCHW[places]]
            images += [torch.stack(same) for same in zip(*(references[place] for place in places), strict=True)]
            text = torch.stack([texts[place]["text"] for place in places]).to(device, dtype)
            positions = [token_places(*image.shape[-2:], APART * number) for number, image in enumerate(images)]
            predicted: Tensor = transformer(
                hidden_states=torch.cat([image.flatten(2).mT for image in images], dim=1).to(dtype),
                encoder_hidden_states=text,
                timestep=sigma_B[places],
                img_ids=torch.cat(positions).to(device),
                txt_ids=text_places(text.shape[1]).to(device),
                return_dict=False,
            )[0]
            canvas = predicted[:, : math.prod(noisy_BCHW.shape[-2:])]
            return canvas.mT.reshape(images[0].shape)

        return grouped(sizes_of(references), of)

    # ---- noise levels

    def mu(self, scheduler: Any, steps: int, tokens: int) -> float:
        """The authors' fit to what worked best, by steps and tokens of the canvas."""
        from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

        return compute_empirical_mu(tokens, steps)

    def noise_shift(self, steps: int, tokens: int) -> NoiseShift:
        return NoiseShift(factor=math.exp(self.mu(None, steps, tokens)))


def _squares(latents_BCHW: Tensor) -> Tensor:
    return torch.nn.functional.pixel_unshuffle(latents_BCHW, 2)


def _statistics(vae: Any) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every channel: C x 1 x 1 each."""
    mean, variance = vae.bn.running_mean.float(), vae.bn.running_var.float()
    return mean[:, None, None], (variance + vae.config.batch_norm_eps).sqrt()[:, None, None]


@lru_cache(maxsize=32)
def token_places(height: int, width: int, image: int = 0) -> Tensor:
    """Positions of an image's tokens: (image, row, column, 0), row by row; HW x 4."""
    return torch.cartesian_prod(torch.tensor([image]), torch.arange(height), torch.arange(width), torch.tensor([0]))


@lru_cache(maxsize=8)
def text_places(length: int) -> Tensor:
    """Positions of text tokens: (0, 0, 0, number); L x 4."""
    places = torch.zeros(length, 4, dtype=torch.long)
    places[:, 3] = torch.arange(length)
    return places


def make(model: str | None, revision: str | None = None) -> Klein:
    return Klein(model, revision)
