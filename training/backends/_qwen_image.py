"""What Qwen-Image and its Edit share: streams of image and text tokens, text read by Qwen2.5-VL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from training.backends._qwen import QWEN_VAE, QwenStyle, padded
from training.backends.base import Encoded, Guidance, Prompts, References, dtype_of, grouped, pack, sizes_of, unpack

_QWEN25_VL = {
    "text_config": {
        "vocab_size": 152_064,
        "hidden_size": 3_584,
        "intermediate_size": 18_944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    },
    "vision_config": {"depth": 32, "hidden_size": 1_280, "intermediate_size": 3_420, "out_hidden_size": 3_584},
}
TRANSFORMER = {
    "patch_size": 2,
    "in_channels": 64,
    "out_channels": 16,
    "num_layers": 60,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 3_584,
    "axes_dims_rope": [16, 56, 56],
}
PARTS = {
    "transformer": TRANSFORMER,
    "vae": QWEN_VAE,
    "text_encoder": _QWEN25_VL,
    "scheduler": {
        "use_dynamic_shifting": True,
        "shift": 1.0,
        "base_shift": 0.5,
        "max_shift": 0.9,
        "base_image_seq_len": 256,
        "max_image_seq_len": 8_192,
        "shift_terminal": 0.02,
        "time_shift_type": "exponential",
    },
}
"""Of all models of the family; scheduler_config.json of https://huggingface.co/Qwen/Qwen-Image.

Training takes the scheduler's shift too, as musubi-tuner's `qwen_shift` does (docs/qwen_image.md); the default there,
and DiffSynth-Studio's, is about 2.2 on every canvas."""


class QwenImages(QwenStyle):
    """One model of Qwen-Image's architecture."""

    ENCODERS = ("text_encoder",)
    CLASSES: ClassVar[Mapping[str, tuple[str, str]]] = {
        "transformer": ("diffusers", "QwenImageTransformer2DModel"),
        "vae": ("diffusers", "AutoencoderKLQwenImage"),
        "text_encoder": ("transformers", "Qwen2_5_VLForConditionalGeneration"),
    }
    # Every linear layer that reads or writes tokens of either stream. Anchored at the blocks, and without modulation,
    # which sees only the noise level. The scripts of DiffSynth and diffusers train the attention alone.
    TARGETS = (
        r"transformer_blocks\.\d+\.(?:attn\.(?:to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)"
        r"|(?:img|txt)_mlp\.net\.(?:0\.proj|2))"
    )

    @property
    def targets(self) -> str:
        """Without what the last block makes of the text: nothing reads it, so it would get no gradient."""
        last = int(self.config("transformer")["num_layers"]) - 1
        return rf"(?!transformer_blocks\.{last}\.(?:attn\.(?:add_q_proj|to_add_out)|txt_mlp)){self.TARGETS}"

    @property
    def guidance(self) -> Guidance:
        return "classifier-free"

    def pipeline_guidance(self, strength: float) -> dict[str, object]:
        return {"true_cfg_scale": strength, "negative_prompt": ""}

    @torch.inference_mode()
    def encode_text(
        self,
        encoders: Mapping[str, Any],
        texts: Sequence[str],
        references: Sequence[Sequence[Image.Image]] = (),
    ) -> list[Encoded]:
        """`text` (L x D): the last hidden states of the prompt and of what follows it in the template."""
        read = self.tokenizer()(
            self.templated(texts),
            max_length=self.text_limit + self.DROPPED,
            padding=True,
            truncation=True,
            return_tensors="pt",
        )
        return self._read(encoders["text_encoder"], read)

    def _read(self, encoder: Any, read: Any) -> list[Encoded]:
        """
        Args:
            read: what tokenizer or processor made of the texts.
        """
        read = read.to(encoder.device)
        # Without the last one, transformers 5 gives a picture's tokens the places of a line of text. The pipelines of
        # diffusers 0.42 leave it out (huggingface/diffusers#14194); neither the model nor ComfyUI has learnt it so.
        names = ("pixel_values", "image_grid_thw", "mm_token_type_ids")
        seen = {name: read[name] for name in names if name in read}
        layers = encoder(
            input_ids=read["input_ids"],
            attention_mask=read["attention_mask"],
            output_hidden_states=True,
            logits_to_keep=1,  # those of all tokens would take more memory than the states
            **seen,
        ).hidden_states
        masks = read["attention_mask"].bool()
        return [{"text": one[real][self.DROPPED :].cpu().clone()} for one, real in zip(layers[-1], masks, strict=True)]

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
        """References follow the grid as tokens of their own, clean; the transformer gives each a place on its axis of
        frames and, from Edit-2511 on (`zero_cond_t`), modulates them as at noise level 0."""

        def of(places: list[int]) -> Tensor:
            texts_of, images_of = [texts[place] for place in places], [references[place] for place in places]
            return self._predict(transformer, noisy_BCHW[places], sigma_B[places], texts_of, images_of)

        references = references or [()] * len(texts)
        return grouped(sizes_of(references), of)

    def _predict(
        self, transformer: Any, noisy_BCHW: Tensor, sigma_B: Tensor, texts: Sequence[Encoded], references: References
    ) -> Tensor:
        """
        Args:
            references: of the same sizes for all grids.
        """
        height, width = noisy_BCHW.shape[-2:]
        device, dtype = noisy_BCHW.device, dtype_of(transformer)
        text, mask = padded(texts, device, dtype)
        images = [torch.stack(one) for one in zip(*references, strict=True)]
        predicted = transformer(
            hidden_states=torch.cat([pack(noisy_BCHW), *map(pack, images)], dim=1).to(dtype),
            timestep=sigma_B,
            encoder_hidden_states=text,
            encoder_hidden_states_mask=mask,
            img_shapes=[[_shape(noisy_BCHW), *map(_shape, images)]] * len(texts),
            return_dict=False,
        )[0]
        return unpack(predicted[:, : height * width // 4], height, width)

    def guided(
        self, transformer: Any, noisy_BCHW: Tensor, sigma_B: Tensor, prompts: Prompts, strength: float
    ) -> Tensor:
        """Every token keeps the length that it has in the prediction for the prompt, as in the pipeline."""
        towards = self.predict(transformer, noisy_BCHW, sigma_B, prompts.texts, references=prompts.references)
        if strength <= self.NEUTRAL:
            return towards
        plain = self.predict(transformer, noisy_BCHW, sigma_B, prompts.empty, references=prompts.references)
        tokens, moved = pack(towards), pack(plain + strength * (towards - plain))
        length = tokens.norm(dim=-1, keepdim=True) / moved.norm(dim=-1, keepdim=True)
        return unpack(moved * length, *noisy_BCHW.shape[-2:])


def _shape(latents: Tensor) -> tuple[int, int, int]:
    """Frames, rows and columns of tokens."""
    return 1, latents.shape[-2] // 2, latents.shape[-1] // 2
