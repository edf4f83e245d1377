"""Z-Image: one stream of image and text tokens, packed by the transformer itself; Qwen3 is the text encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from training.backends.base import FLUX_VAE, Backend, Encoded, Guidance, References, dtype_of
from training.model_files import Known

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
    "vae": FLUX_VAE,
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
    STRIDE = 8
    NEUTRAL = 0.0  # ZImagePipeline counts guidance from 0: the prompt's prediction plus so many times the difference
    # Every linear layer that reads or writes tokens of the joint stream. The blocks that see only the noisy image
    # (noise_refiner) or only the text (context_refiner) are left out: neither relates a panel to its words, and the
    # backward pass can stop where the streams meet. OneTrainer (presets attn-mlp and blocks) and ai-toolkit do the
    # same; the scripts of diffusers and DiffSynth, which match the ends of names, include them.
    TARGETS = r"layers\.\d+\.(?:attention\.(?:to_[qkv]|to_out\.0)|feed_forward\.w[123])"
    # As the configs on the hub say: https://huggingface.co/Tongyi-MAI/Z-Image has shift 6 in
    # scheduler/scheduler_config.json (so has its shrunken copy INCModel/Z-Image-tiny-for-testing), Turbo has 3. Turbo
    # is distilled to few steps without guidance, which training undoes; the model to train is Z-Image.
    KNOWN: ClassVar[Mapping[str, Known]] = {
        f"Tongyi-MAI/{name}": Known(
            licence="apache-2.0",
            parts=_PARTS | {"scheduler": {"use_dynamic_shifting": False, "shift": shift}},
            distilled=turbo,
        )
        for name, shift, turbo in (("Z-Image", 6.0, False), ("Z-Image-Turbo", 3.0, True))
    }

    @property
    def guidance(self) -> Guidance:
        return "none" if self.known and self.known.distilled else "classifier-free"

    @torch.inference_mode()
    def encode_text(
        self,
        encoders: Mapping[str, Any],
        texts: Sequence[str],
        references: Sequence[Sequence[Image.Image]] = (),
    ) -> list[Encoded]:
        """`text` (L x D): the hidden states before Qwen3's last layer, as many tokens as the text has.

        Texts are padded to the limit while they are read: at another length the last bits differ from the pipeline's.
        """
        qwen3 = encoders["text_encoder"]
        prompts = self.templated(texts)
        read = self.tokenizer()(
            prompts, padding="max_length", max_length=self.text_limit, truncation=True, return_tensors="pt"
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
        references: References = (),
        guidance: float = 1.0,
    ) -> Tensor:
        """The model's own time runs from noise (0) to image (1), and it predicts image minus noise."""
        device, dtype = noisy_BCHW.device, dtype_of(transformer)
        frames = transformer(
            list(noisy_BCHW.to(dtype).unsqueeze(2)),  # C x 1 x H x W each: videos of one frame
            1 - sigma_B,
            [one["text"].to(device, dtype) for one in texts],
            return_dict=False,
        )[0]
        return -torch.stack(frames).squeeze(2)

    def templated(self, texts: Sequence[str]) -> list[str]:
        """Texts in Qwen3's chat template, with thinking enabled as in the pipeline, which adds no token for it."""
        return [
            self.tokenizer().apply_chat_template(
                [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True, enable_thinking=True
            )
            for text in texts
        ]


def make(model: str | None, revision: str | None = None) -> ZImage:
    return ZImage(model, revision)
