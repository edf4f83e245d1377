"""Z-Image: one stream of image and text tokens that the transformer makes of latents and texts itself; Qwen3 reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from training.backends.base import VAE, Backend, Encoded, Known, numbers

_QWEN3 = {
    "vocab_size": 151_936,
    "hidden_size": 2_560,
    "intermediate_size": 9_728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
}
_TRANSFORMER = {
    "in_channels": 16,
    "dim": 3_840,
    "n_layers": 30,
    "n_refiner_layers": 2,
    "n_heads": 30,
    "n_kv_heads": 30,
    "cap_feat_dim": 2_560,
    "axes_dims": [32, 48, 48],
    "axes_lens": [1_536, 512, 512],
}
_PARTS = {
    "transformer": _TRANSFORMER,
    "vae": VAE,
    "text_encoder": _QWEN3,
}


class ZImage(Backend):
    PIPELINE = "ZImagePipeline"
    BASE = "z-image"
    ENCODERS = ("text_encoder",)
    CLASSES: ClassVar[Mapping[str, tuple[str, str]]] = {
        "transformer": ("diffusers", "ZImageTransformer2DModel"),
        "vae": ("diffusers", "AutoencoderKL"),
        "text_encoder": ("transformers", "Qwen3Model"),
    }
    # Every linear layer that reads or writes tokens of the joint stream. The two blocks each that see the noisy image
    # alone (noise_refiner) or the text alone (context_refiner) stay as they are: neither sees what a panel owes to its
    # words, and the backward pass ends where the streams meet. So do OneTrainer (presets attn-mlp and blocks) and
    # ai-toolkit; diffusers' and DiffSynth's scripts, which go by the ends of names, take them along.
    TARGETS = r"layers\.\d+\.(?:attention\.(?:to_[qkv]|to_out\.0)|feed_forward\.w[123])"
    # Both on the hub as the folders' configs say: https://huggingface.co/Tongyi-MAI/Z-Image has shift 6 in
    # scheduler/scheduler_config.json (so has its shrunken copy INCModel/Z-Image-tiny-for-testing), Turbo has 3. Turbo
    # is distilled to few steps without guidance, which training undoes; the model to train is Z-Image.
    KNOWN: ClassVar[Mapping[str, Known]] = {
        f"Tongyi-MAI/{name}": Known(
            licence="apache-2.0",
            parts=_PARTS | {"scheduler": {"use_dynamic_shifting": False, "shift": shift}},
            turbo=turbo,
        )
        for name, shift, turbo in (("Z-Image", 6.0, False), ("Z-Image-Turbo", 3.0, True))
    }

    @torch.inference_mode()
    def encode_text(self, encoders: Mapping[str, Any], texts: Sequence[str]) -> list[Encoded]:
        """`text` (L x D): Qwen3's last layer but one, as many tokens as the text has.

        They are padded to the limit for the reading only: at another length the last bits would not be the pipeline's.
        """
        qwen3 = encoders["text_encoder"]
        read = self.tokenizer()(
            self.as_asked(texts), padding="max_length", max_length=self.text_limit, truncation=True, return_tensors="pt"
        ).to(qwen3.device)
        mask = read.attention_mask.bool()
        layers = qwen3(input_ids=read.input_ids, attention_mask=mask, output_hidden_states=True).hidden_states
        return [{"text": one[real].cpu()} for one, real in zip(layers[-2], mask, strict=True)]

    def predict(
        self,
        transformer: Any,
        noisy_BCHW: Tensor,
        sigma_B: Tensor,
        texts: Sequence[Encoded],
        *,
        guidance: float = 1.0,
    ) -> Tensor:
        """The model's own time runs from noise (0) to image (1), and it predicts image minus noise."""
        device, dtype = noisy_BCHW.device, numbers(transformer)
        frames = transformer(
            list(noisy_BCHW.to(dtype).unsqueeze(2)),  # C x 1 x H x W each: films of one frame
            1 - sigma_B,
            [one["text"].to(device, dtype) for one in texts],
            return_dict=False,
        )[0]
        return -torch.stack(frames).squeeze(2)

    def guided(
        self,
        transformer: Any,
        noisy_BCHW: Tensor,
        sigma_B: Tensor,
        texts: Sequence[Encoded],
        empty: Encoded,
        guidance: float,
    ) -> Tensor:
        """Away from what the empty text gives, by so many times the difference (as ZImagePipeline counts strength)."""
        known = self.KNOWN.get(self.model)
        told = self.predict(transformer, noisy_BCHW, sigma_B, texts)
        if guidance == 0 or (known and known.turbo):
            return told
        free = self.predict(transformer, noisy_BCHW, sigma_B, [empty] * len(texts))
        return told + guidance * (told - free)

    def as_asked(self, texts: Sequence[str]) -> list[str]:
        """Texts as questions in Qwen3's chat marks; thinking is on as in the pipeline, which adds no mark for it."""
        return [
            self.tokenizer().apply_chat_template(
                [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True, enable_thinking=True
            )
            for text in texts
        ]


def make(model: str | None, revision: str | None = None) -> ZImage:
    return ZImage(model, revision)
