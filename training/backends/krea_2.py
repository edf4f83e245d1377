"""Krea 2: one stream of text and image tokens; text is the states of twelve layers of Qwen3-VL, one above the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from training.backends._flux_1 import token_places
from training.backends._qwen import QWEN_VAE, QwenStyle, padded, qwen3_vl
from training.backends.base import Encoded, Guidance, References, dtype_of, pack, unpack
from training.model_files import Known

_QWEN3_VL = qwen3_vl(
    2_560,
    9_728,
    {
        "depth": 24,
        "hidden_size": 1_024,
        "intermediate_size": 4_096,
        "deepstack_visual_indexes": [5, 11, 17],
    },
)
_TRANSFORMER = {
    "in_channels": 64,
    "num_layers": 28,
    "attention_head_dim": 128,
    "num_attention_heads": 48,
    "num_key_value_heads": 12,
    "intermediate_size": 16_384,
    "text_hidden_dim": 2_560,
    "num_text_layers": 12,
    "text_num_attention_heads": 20,
    "text_num_key_value_heads": 20,
    "text_intermediate_size": 6_912,
    "num_layerwise_text_blocks": 2,
    "num_refiner_text_blocks": 2,
    "axes_dims_rope": [32, 48, 48],
}
_PARTS = {
    "transformer": _TRANSFORMER,
    "vae": QWEN_VAE,
    "text_encoder": _QWEN3_VL,
    # As the pipeline's documentation says (pipeline_krea2.py). Training goes by it too, as musubi-tuner's `krea2_shift`
    # does (docs/krea2.md).
    "scheduler": {
        "use_dynamic_shifting": True,
        "shift": 1.0,
        "base_shift": 0.5,
        "max_shift": 1.15,
        "base_image_seq_len": 256,
        "max_image_seq_len": 6_400,
        "time_shift_type": "exponential",
    },
}
LAYERS = (2, 5, 8, 11, 14, 17, 20, 23, 26, 29, 32, 35)
"""Of the text encoder, whose states are read; 0 would be the embeddings. A model's own file may name others."""
DISTILLED_MU = 1.15
"""Of the distilled model at every resolution (pipeline_krea2.py)."""


class Krea2(QwenStyle):
    PIPELINE = "Krea2Pipeline"
    BASE = "krea-2"
    ENCODERS = ("text_encoder",)
    CLASSES: ClassVar[Mapping[str, tuple[str, str]]] = {
        "transformer": ("diffusers", "Krea2Transformer2DModel"),
        "vae": ("diffusers", "AutoencoderKLQwenImage"),
        "text_encoder": ("transformers", "Qwen3VLModel"),
    }
    NEUTRAL = 0.0  # the pipeline counts guidance from 0: the prompt's prediction plus so many times the difference
    # Of the layers that the authors recommend (diffusers, train_dreambooth_lora_krea2.py), those that read or write
    # tokens of the joint stream. Anchored at its blocks: the blocks that fuse the layers of the text have attention of
    # the same names. `ff.gate` is not among the authors' layers.
    TARGETS = r"transformer_blocks\.\d+\.(?:attn\.(?:to_[qkv]|to_gate|to_out\.0)|ff\.(?:up|down))"
    # Turbo is distilled to eight steps without guidance, which training undoes. LoRAs are trained on Raw, and fit both.
    KNOWN: ClassVar[Mapping[str, Known]] = {
        f"krea/Krea-2-{name}": Known(licence="krea-2-community-license", parts=_PARTS, distilled=name == "Turbo")
        for name in ("Raw", "Turbo")
    }

    @cached_property
    def distilled(self) -> bool:
        """Whether it is Turbo, or a model like it."""
        if self.folder is None:
            return bool(self.known and self.known.distilled)
        return bool(self._index().get("is_distilled"))

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """Layers of the text encoder whose states are read."""
        named = self._index().get("text_encoder_select_layers") if self.folder else None
        return tuple(named) if named else LAYERS

    @property
    def guidance(self) -> Guidance:
        return "none" if self.distilled else "classifier-free"

    def pipeline_guidance(self, strength: float) -> dict[str, object]:
        return {"guidance_scale": 0.0 if self.distilled else strength}

    def config(self, part: str) -> Mapping[str, Any]:
        """The distilled model has the same schedule at every resolution, which only its pipeline knows."""
        read = super().config(part)
        if part == "scheduler" and self.distilled:
            return {**read, "base_shift": DISTILLED_MU, "max_shift": DISTILLED_MU}
        return read

    @torch.inference_mode()
    def encode_text(
        self,
        encoders: Mapping[str, Any],
        texts: Sequence[str],
        references: Sequence[Sequence[Image.Image]] = (),
    ) -> list[Encoded]:
        """`text` (L x 12 x D): the states of every layer, as many tokens as the prompt and what follows it have.

        As in the pipeline, padding stands between the two while they are read, and takes no position.
        """
        encoder, tokenizer = encoders["text_encoder"], self.tokenizer()
        start, end = self.TEMPLATE.split("{}")
        ends = tokenizer([end] * len(texts), return_tensors="pt")
        starts = tokenizer(
            [start + text for text in texts],
            padding="max_length",
            max_length=self.text_limit + self.DROPPED - ends.input_ids.shape[1],
            truncation=True,
            return_tensors="pt",
        )
        ids, mask = (torch.cat([starts[name], ends[name]], dim=1) for name in ("input_ids", "attention_mask"))
        places = (mask.cumsum(1) - 1).clamp(min=0).expand(3, -1, -1)
        states = encoder(
            input_ids=ids.to(encoder.device),
            attention_mask=mask.bool().to(encoder.device),
            position_ids=places.to(encoder.device),
            output_hidden_states=True,
        ).hidden_states
        stacked = torch.stack([states[layer] for layer in self.layers], dim=2)[:, self.DROPPED :].cpu()
        return [{"text": one[real]} for one, real in zip(stacked, mask[:, self.DROPPED :].bool(), strict=True)]

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
        height, width = noisy_BCHW.shape[-2:]
        device, dtype = noisy_BCHW.device, dtype_of(transformer)
        text, mask = padded(texts, device, dtype)
        places = torch.cat([torch.zeros(text.shape[1], 3), token_places(height, width)])
        tokens = transformer(
            hidden_states=pack(noisy_BCHW).to(dtype),
            encoder_hidden_states=text,
            timestep=sigma_B,
            position_ids=places.to(device),
            encoder_attention_mask=mask,
            return_dict=False,
        )[0]
        return unpack(tokens, height, width)

    def width(self, transformer: Any) -> int:
        return int(transformer.hidden_size)


def make(model: str | None, revision: str | None = None) -> Krea2:
    return Krea2(model, revision)
