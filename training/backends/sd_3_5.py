"""Stable Diffusion 3.5: two streams, packed by the transformer itself; T5 and two CLIPs are read token by token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from training.backends._flux_1 import PARTS as FLUX_PARTS
from training.backends.base import FLUX_VAE, Backend, Encoded, Guidance, NoiseShift, References, dtype_of
from training.model_files import Known

_CLIP_G = {
    "vocab_size": 49_408,
    "hidden_size": 1_280,
    "intermediate_size": 5_120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "max_position_embeddings": 77,
    "projection_dim": 1_280,
    "hidden_act": "gelu",
}
_TRANSFORMER = {
    "sample_size": 128,
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "attention_head_dim": 64,
    "joint_attention_dim": 4_096,
    "pooled_projection_dim": 2_048,
    "qk_norm": "rms_norm",
}
_LARGE = {
    "num_layers": 38,
    "num_attention_heads": 38,
    "caption_projection_dim": 2_432,
    "pos_embed_max_size": 192,
    "dual_attention_layers": [],
}
_MEDIUM = {
    "num_layers": 24,
    "num_attention_heads": 24,
    "caption_projection_dim": 1_536,
    "pos_embed_max_size": 384,
    "dual_attention_layers": list(range(13)),
}
_PARTS = {
    "vae": {**FLUX_VAE, "shift_factor": 0.0609, "scaling_factor": 1.5305},
    "text_encoder": FLUX_PARTS["text_encoder"],
    "text_encoder_2": _CLIP_G,
    "text_encoder_3": FLUX_PARTS["text_encoder_2"],
    # diffusers' train_dreambooth_lora_sd3.py draws logit-normal levels from this scheduler, so with its shift.
    "scheduler": {"use_dynamic_shifting": False, "shift": 3.0},
}


class StableDiffusion35(Backend):
    PIPELINE = "StableDiffusion3Pipeline"
    BASE = "sd-3.5"
    ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
    TOKENIZER = "tokenizer_3"  # T5's; the CLIPs read the first 77 tokens besides, so they set no limit
    CLASSES: ClassVar[Mapping[str, tuple[str, str]]] = {
        "transformer": ("diffusers", "SD3Transformer2DModel"),
        "vae": ("diffusers", "AutoencoderKL"),
        "text_encoder": ("transformers", "CLIPTextModelWithProjection"),
        "text_encoder_2": ("transformers", "CLIPTextModelWithProjection"),
        "text_encoder_3": ("transformers", "T5EncoderModel"),
    }
    STRIDE = 8
    # Every linear layer of the blocks that reads or writes tokens of either stream; Medium has a second attention in
    # some. Modulation layers are left out: they see the noise level and the summary vector, not a panel.
    TARGETS = (
        r"transformer_blocks\.\d+\.(?:attn2?\.(?:to_[qkv]|to_out\.0)|attn\.(?:add_[qkv]_proj|to_add_out)"
        r"|ff(?:_context)?\.net\.(?:0\.proj|2))"
    )
    KNOWN: ClassVar[Mapping[str, Known]] = {
        f"stabilityai/stable-diffusion-3.5-{name}": Known(
            licence="stabilityai-ai-community", parts={**_PARTS, "transformer": {**_TRANSFORMER, **size}}
        )
        for name, size in (("large", _LARGE), ("medium", _MEDIUM))
    }

    @property
    def targets(self) -> str:
        """Without the queries of the text in the last block: nothing reads their answers, so they get no gradient."""
        last = int(self.config("transformer")["num_layers"]) - 1
        return rf"(?!transformer_blocks\.{last}\.attn\.add_q_proj){self.TARGETS}"

    @property
    def guidance(self) -> Guidance:
        return "classifier-free"

    @torch.inference_mode()
    def encode_text(
        self,
        encoders: Mapping[str, Any],
        texts: Sequence[str],
        references: Sequence[Sequence[Image.Image]] = (),
    ) -> list[Encoded]:
        """`text` (L x D): 77 tokens of both CLIPs side by side, filled up with zeros, then T5's, padded to the limit
        and without a mask, as it was trained; `pooled`: the summaries of both CLIPs."""
        *clips, t5 = (encoders[part] for part in self.ENCODERS)
        shorter = self.tokenizer().model_max_length  # the pipeline goes by the first for both
        read = [
            clip(self._ids(part, texts, shorter).to(clip.device), output_hidden_states=True)
            for clip, part in zip(clips, ("tokenizer", "tokenizer_2"), strict=True)
        ]
        short = torch.cat([one.hidden_states[-2].cpu() for one in read], dim=-1)
        long = t5(self._ids("tokenizer_3", texts, self.text_limit).to(t5.device)).last_hidden_state.cpu()
        together = torch.cat([functional.pad(short, (0, long.shape[-1] - short.shape[-1])), long], dim=1)
        pooled = torch.cat([one.text_embeds.cpu() for one in read], dim=-1)
        return [{"text": one, "pooled": summary} for one, summary in zip(together, pooled, strict=True)]

    def _ids(self, part: str, texts: Sequence[str], length: int) -> Tensor:
        found: Tensor = self.tokenizer(part)(
            list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        ).input_ids
        return found

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
        """The model's own time runs to 1,000."""
        device, dtype = noisy_BCHW.device, dtype_of(transformer)
        predicted: Tensor = transformer(
            hidden_states=noisy_BCHW.to(dtype),
            timestep=1_000 * sigma_B,
            encoder_hidden_states=torch.stack([one["text"] for one in texts]).to(device, dtype),
            pooled_projections=torch.stack([one["pooled"] for one in texts]).to(device, dtype),
            return_dict=False,
        )[0]
        return predicted

    def noise_shift(self, steps: int, tokens: int) -> NoiseShift:
        return replace(super().noise_shift(steps, tokens), spacing="to the lowest")

    def noise_levels(self, steps: int, tokens: int) -> Tensor:
        """The pipeline leaves the spacing to the scheduler, whose last step begins lower than other families'."""
        from diffusers import FlowMatchEulerDiscreteScheduler

        scheduler = FlowMatchEulerDiscreteScheduler.from_config(dict(self.config("scheduler")))  # type: ignore[no-untyped-call]
        scheduler.set_timesteps(steps)
        levels: Tensor = scheduler.sigmas
        return levels.cpu()


def make(model: str | None, revision: str | None = None) -> StableDiffusion35:
    return StableDiffusion35(model, revision)
