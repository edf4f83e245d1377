"""What FLUX.1 and its relatives share: latents packed two by two, T5 read token by token, CLIP as a summary vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from training.backends.base import (
    FLUX_VAE,
    Backend,
    Encoded,
    Guidance,
    References,
    dtype_of,
    grouped,
    pack,
    sizes_of,
    unpack,
)

_CLIP = {
    "vocab_size": 49_408,
    "hidden_size": 768,
    "intermediate_size": 3_072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 77,
    "projection_dim": 768,
}
T5 = {
    "vocab_size": 32_128,
    "d_model": 4_096,
    "d_kv": 64,
    "d_ff": 10_240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
    "is_gated_act": True,
}
TRANSFORMER = {
    "patch_size": 1,
    "in_channels": 64,
    "num_layers": 19,
    "num_single_layers": 38,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 4_096,
    "pooled_projection_dim": 768,
    "axes_dims_rope": [16, 56, 56],
}
DYNAMIC = {
    "use_dynamic_shifting": True,
    "shift": 3.0,
    "base_shift": 0.5,
    "max_shift": 1.15,
    "base_image_seq_len": 256,
    "max_image_seq_len": 4_096,
}
"""Noise levels are trained at as musubi-tuner (docs/flux_kontext.md) and sd-scripts (docs/flux_train_network.md)
recommend: `flux_shift`, which is logit-normal levels with this shift."""
PARTS = {"vae": FLUX_VAE, "text_encoder": _CLIP, "text_encoder_2": T5}


class Flux1(Backend):
    """One model of FLUX.1's architecture."""

    ENCODERS = ("text_encoder", "text_encoder_2")
    TOKENIZER = "tokenizer_2"  # T5's; CLIP only summarises its first 77 tokens, so it sets no limit
    CLASSES: ClassVar[Mapping[str, tuple[str, str]]] = {
        "transformer": ("diffusers", "FluxTransformer2DModel"),
        "vae": ("diffusers", "AutoencoderKL"),
        "text_encoder": ("transformers", "CLIPTextModel"),
        "text_encoder_2": ("transformers", "T5EncoderModel"),
    }
    STRIDE = 8
    # Every linear layer that reads or writes tokens. Anchored at the blocks, since `proj_out` is also the name of the
    # model's last layer. Modulation layers are left out: they see the noise level and the summary vector, not a panel.
    TARGETS = (
        r"(?:transformer_blocks|single_transformer_blocks)\.\d+\."
        r"(?:attn\.(?:to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)|ff\.net\.(?:0\.proj|2)|ff_context\.net\.(?:0\.proj|2)"
        r"|proj_mlp|proj_out)"
    )

    @property
    def guidance(self) -> Guidance:
        return "embedded" if self.config("transformer").get("guidance_embeds") else "none"

    @torch.inference_mode()
    def encode_text(
        self,
        encoders: Mapping[str, Any],
        texts: Sequence[str],
        references: Sequence[Sequence[Image.Image]] = (),
    ) -> list[Encoded]:
        """`text` (L x D): T5 padded to the limit, without a mask, as it was trained; `pooled`: CLIP's summary."""
        clip, t5 = (encoders[part] for part in self.ENCODERS)
        short, long = (
            self.tokenizer(part)(
                list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
            ).input_ids
            for part, length in (("tokenizer", self.tokenizer().model_max_length), ("tokenizer_2", self.text_limit))
        )
        pooled = clip(short.to(clip.device)).pooler_output.cpu()
        text = t5(long.to(t5.device)).last_hidden_state.cpu()
        return [{"text": one, "pooled": summary} for one, summary in zip(text, pooled, strict=True)]

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
        """References follow the canvas as more tokens, each with its own rows and columns, at 1 on the first axis."""

        def of(places: list[int]) -> Tensor:
            texts_of, images_of = [texts[place] for place in places], [references[place] for place in places]
            return self._predict(transformer, noisy_BCHW[places], sigma_B[places], texts_of, images_of, guidance)

        references = references or [()] * len(texts)
        return grouped(sizes_of(references), of)

    def _predict(
        self,
        transformer: Any,
        noisy_BCHW: Tensor,
        sigma_B: Tensor,
        texts: Sequence[Encoded],
        references: References,
        guidance: float,
    ) -> Tensor:
        """
        Args:
            references: of the same sizes for all grids.
        """
        height, width = noisy_BCHW.shape[-2:]
        device, dtype = noisy_BCHW.device, dtype_of(transformer)
        text = torch.stack([one["text"] for one in texts]).to(device, dtype)
        pooled = torch.stack([one["pooled"] for one in texts]).to(device, dtype)
        strength = torch.full_like(sigma_B, guidance) if transformer.config.guidance_embeds else None
        tokens, places = [pack(noisy_BCHW)], [token_places(height, width)]
        for images in zip(*references, strict=True):
            tokens.append(pack(torch.stack(images)))
            places.append(token_places(*images[0].shape[-2:], image=1))
        predicted = transformer(
            hidden_states=torch.cat(tokens, dim=1).to(dtype),
            encoder_hidden_states=text,
            pooled_projections=pooled,
            timestep=sigma_B,
            guidance=strength,
            img_ids=torch.cat(places).to(device),
            txt_ids=torch.zeros(text.shape[1], 3, device=device),
            return_dict=False,
        )[0]
        return unpack(predicted[:, : tokens[0].shape[1]], height, width)


@lru_cache(maxsize=32)
def token_places(height: int, width: int, image: int = 0) -> Tensor:
    """Positions of the tokens: (image, row, column), row by row; HW/4 x 3.

    Args:
        image: 0 for the canvas.
    """
    places = torch.zeros(height // 2, width // 2, 3)
    places[..., 0] = image
    places[..., 1] = torch.arange(height // 2)[:, None]
    places[..., 2] = torch.arange(width // 2)
    return places.reshape(-1, 3)
