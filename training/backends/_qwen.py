"""What Qwen-Image and Krea 2 have in common: the VAE, tokens of two by two latents, and the prompt's template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from training.backends.base import Backend, Encoded

QWEN_VAE: Mapping[str, Any] = {
    "base_dim": 96,
    "z_dim": 16,
    "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "temperal_downsample": [False, True, True],
}
"""The config of Qwen-Image's VAE, for which that of Wan 2.1 was trained further. Means and standard deviations of its
latents are the defaults of diffusers' class."""


def qwen3_vl(width: int, inner: int, vision: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config of a Qwen3-VL that reads prompts.

    Args:
        width, inner: hidden and intermediate size of its language model, the rest of which 4B and 8B have in common.
        vision: what its vision tower has of its own.
    """
    return {
        "text_config": {
            "vocab_size": 151_936,
            "hidden_size": width,
            "intermediate_size": inner,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5e6,
                "mrope_section": [24, 20, 20],
                "mrope_interleaved": True,
            },
        },
        "vision_config": {**vision, "out_hidden_size": width},
    }


class QwenStyle(Backend):
    """A family with Qwen-Image's VAE and template.

    The VAE is one for videos, of which a picture is a single frame, and every channel of its latents has a mean and a
    standard deviation of its own.
    """

    STRIDE = 8
    TEMPLATE: ClassVar[str] = (
        "<|im_start|>system\n"
        "Describe the image by detailing the color, shape, size, texture, quantity, text, spatial relationships of the "
        "objects and background:<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
    )
    """Of a prompt, as the pipeline has it."""
    DROPPED: ClassVar[int] = 34
    """Tokens at the template's start, which are the same for all prompts and which the transformer doesn't get."""

    # ---- latents

    @property
    def channels(self) -> int:
        return int(self.config("vae")["z_dim"])

    @torch.inference_mode()
    def encode_image(self, vae: Any, pixels_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        posterior = vae.encode(pixels_BCHW.unsqueeze(2).to(vae.device, vae.dtype)).latent_dist
        mean, std = _statistics(vae)
        return (
            ((posterior.mean.float().cpu() - mean) / std).squeeze(2),
            (posterior.std.float().cpu() / std).squeeze(2),
        )

    @torch.inference_mode()
    def decode_image(self, vae: Any, latents_BCHW: Tensor) -> Tensor:
        mean, std = (one.to(latents_BCHW.device) for one in _statistics(vae))
        decoded = vae.decode((latents_BCHW.unsqueeze(2) * std + mean).to(vae.device, vae.dtype)).sample
        pixels: Tensor = (decoded.squeeze(2).float() / 2 + 0.5).clamp(0, 1).cpu()
        return pixels

    # ---- text

    def templated(self, texts: Sequence[str]) -> list[str]:
        return [self.TEMPLATE.format(text) for text in texts]

    def text_tokens(self, longest: int, pictures: int = 0) -> int:
        return min(longest, self.text_limit) + pictures

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens that the transformer would get of every text before truncation."""
        return [count - self.DROPPED for count in super().count_tokens(texts)]


def _statistics(vae: Any) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the latents: C x 1 x 1 x 1 each, on the CPU."""
    mean, std = (torch.tensor(one).view(-1, 1, 1, 1) for one in (vae.config.latents_mean, vae.config.latents_std))
    return mean, std


def padded(texts: Sequence[Encoded], device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Texts at the length of the longest one, zeros at the end, and which of their tokens are real: B x L.

    Without padding there is no mask, as in the pipelines: some kernels of attention take none.
    """
    found = [one["text"] for one in texts]
    lengths = torch.tensor([len(one) for one in found])
    together = torch.nn.utils.rnn.pad_sequence(found, batch_first=True).to(device, dtype)
    if (lengths == together.shape[1]).all():
        return together, None
    return together, (torch.arange(together.shape[1]) < lengths[:, None]).to(device)
