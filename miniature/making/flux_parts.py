"""The parts of a FluxPipeline at small size, with the geometry of FLUX.1-dev.

A VAE with 16 channels and a stride of 8, tokens of 2 x 2 latents (64 channels, 16 pixels), guidance as an input, a
CLIP tower whose summary vector modulates the blocks, and a T5 tower whose tokens are processed with the image's.
"""

from __future__ import annotations

from typing import Any

from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerBase, T5Config, T5EncoderModel

from miniature.making.spelling import CLIP_LENGTH, build_clip_tokenizer, build_t5_tokenizer

CHANNELS = 16
T5_WIDTH, CLIP_WIDTH = 128, 64


def build_vae() -> Any:
    """0.9 million parameters; latents are scaled by the values that `train_vae` measures."""
    return AutoencoderKL(  # type: ignore[no-untyped-call]
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 48, 64),
        latent_channels=CHANNELS,
        norm_num_groups=8,
        use_quant_conv=False,
        use_post_quant_conv=False,
        shift_factor=0.0,
        scaling_factor=1.0,
        sample_size=128,
    )


def build_transformer() -> Any:
    """7.7 million parameters: three blocks that process text and image separately, six that process them together."""
    return FluxTransformer2DModel(  # type: ignore[no-untyped-call]
        in_channels=4 * CHANNELS,
        num_layers=3,
        num_single_layers=6,
        attention_head_dim=32,
        num_attention_heads=6,
        joint_attention_dim=T5_WIDTH,
        pooled_projection_dim=CLIP_WIDTH,
        guidance_embeds=True,
        axes_dims_rope=(8, 12, 12),
    )


def build_t5(tokenizer: PreTrainedTokenizerBase) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=T5_WIDTH,
            d_kv=32,
            d_ff=256,
            num_layers=3,
            num_heads=4,
            feed_forward_proj="gated-gelu",
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            dropout_rate=0.0,
            initializer_factor=1.0,
        )
    )


def build_clip(tokenizer: PreTrainedTokenizerBase) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=CLIP_WIDTH,
            intermediate_size=2 * CLIP_WIDTH,
            projection_dim=CLIP_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=CLIP_LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build_pipeline() -> Any:
    clip, t5 = build_clip_tokenizer(), build_t5_tokenizer()
    return FluxPipeline(  # type: ignore[no-untyped-call]
        # FLUX.1-dev's own values, except for the sequence lengths: a panel has 32 tokens, a storyboard 96
        scheduler=FlowMatchEulerDiscreteScheduler(  # type: ignore[no-untyped-call]
            shift=3.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15
        ),
        vae=build_vae(),
        text_encoder=build_clip(clip),
        tokenizer=clip,
        text_encoder_2=build_t5(t5),
        tokenizer_2=t5,
        transformer=build_transformer(),
    )


def tokens_of(tokenizer: Any, texts: list[str], length: int) -> Tensor:
    ids: Tensor = tokenizer(
        texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    ).input_ids
    return ids
