"""Tiny base models of newer families, built as those of `tiny.py` are, for the backends of the same names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLQwenImage,
    AutoencoderKLQwenImage21,
    FlowMatchEulerDiscreteScheduler,
    Krea2Pipeline,
    Krea2Transformer2DModel,
    QwenImage21Pipeline,
    QwenImage21Transformer2DModel,
    QwenImageEditPlusPipeline,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from tiny import WIDTH, _t5, letters
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLModel,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

VISION = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
ROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
"""Of heads of 16 channels."""
PARTS = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% for part in message.content %}{{ part.text }}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
)
"""Qwen3-VL's chat template, for messages that are lists of texts."""


def qwen_image(folder: Path) -> Path:
    """A Qwen-Image in a folder."""
    torch.manual_seed(0)
    QwenImagePipeline(**_qwen_parts()).save_pretrained(folder)
    return folder


def qwen_image_edit(folder: Path) -> Path:
    """A Qwen-Image-Edit in a folder, like 2511: reference images are modulated as at noise level 0."""
    torch.manual_seed(0)
    parts = _qwen_parts(zero_cond_t=True)
    processor = Qwen2VLProcessor(
        # Pictures of a few patches each; the real limits would make hundreds of tokens of the smallest.
        image_processor=Qwen2VLImageProcessor(patch_size=14, merge_size=2, min_pixels=56 * 56, max_pixels=84 * 84),
        video_processor=Qwen2VLVideoProcessor(patch_size=14, merge_size=2),
        tokenizer=parts["tokenizer"],
    )
    QwenImageEditPlusPipeline(**parts, processor=processor).save_pretrained(folder)
    return folder


def krea_2(folder: Path, *, distilled: bool = False) -> Path:
    """A Krea 2 in a folder, like Raw or like Turbo."""
    torch.manual_seed(0)
    tokenizer = _qwen_letters(256)  # every text is filled up to the limit
    text_encoder = Qwen3VLModel(_qwen3_vl(tokenizer, layers=6))
    transformer = Krea2Transformer2DModel(
        in_channels=64,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=48,
        timestep_embed_dim=32,
        text_hidden_dim=WIDTH,
        num_text_layers=3,
        text_num_attention_heads=2,
        text_num_key_value_heads=2,
        text_intermediate_size=48,
        num_layerwise_text_blocks=1,
        num_refiner_text_blocks=1,
        axes_dims_rope=(4, 6, 6),
    )
    for name, weight in transformer.named_parameters():
        if name.endswith("scale_shift_table"):  # zeros until trained, so that gates would be almost shut
            torch.nn.init.normal_(weight, std=0.5)
    Krea2Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15, base_image_seq_len=256, max_image_seq_len=6_400
        ),
        vae=_qwen_vae(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        transformer=transformer,
        text_encoder_select_layers=(1, 3, 5),
        is_distilled=distilled,
    ).save_pretrained(folder)
    return folder


def qwen_image_2_1(folder: Path) -> Path:
    """A Qwen-Image-2.1 in a folder."""
    torch.manual_seed(0)
    tokenizer = _qwen_letters()
    processor = Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(patch_size=16, merge_size=2, min_pixels=32 * 32, max_pixels=128 * 128),
        video_processor=Qwen3VLVideoProcessor(patch_size=16, merge_size=2),
        tokenizer=tokenizer,
        chat_template=PARTS,
    )
    text_encoder = Qwen3VLForConditionalGeneration(_qwen3_vl(tokenizer, layers=2))
    torch.nn.init.uniform_(text_encoder.model.language_model.norm.weight, 0.5, 2)  # it must be left out
    transformer = QwenImage21Transformer2DModel(
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        context_in_dim=WIDTH,
        mlp_ratio=2,
        axes_dims_rope=(4, 6, 6),
    )
    torch.nn.init.normal_(transformer.modulation[1].weight, std=0.5)  # otherwise its gates are almost shut
    QwenImage21Pipeline(
        scheduler=_qwen_scheduler(),
        vae=AutoencoderKLQwenImage21(base_dim=4, decoder_base_dim=4, dim_mult=[1, 1, 1, 1, 1], num_res_blocks=1),
        text_encoder=text_encoder,
        processor=processor,
        transformer=transformer,
    ).save_pretrained(folder)
    return folder


def sd_3_5(folder: Path) -> Path:
    """A Stable Diffusion 3.5 in a folder, with a block of Medium's and then one of Large's."""
    torch.manual_seed(0)
    clip_letters = letters(77, "<pad>", "</s>", "<s>", start="<s>")
    clips = [
        CLIPTextModelWithProjection(
            CLIPTextConfig(
                vocab_size=len(clip_letters),
                hidden_size=width,
                intermediate_size=37,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=77,
                projection_dim=width,
                pad_token_id=clip_letters.pad_token_id,
                bos_token_id=clip_letters.bos_token_id,
                eos_token_id=clip_letters.eos_token_id,
            )
        )
        for width in (8, 16)
    ]
    t5_letters, t5 = _t5(256)
    StableDiffusion3Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=False),
        vae=AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 8, 8),
            layers_per_block=1,
            latent_channels=16,
            norm_num_groups=4,
            shift_factor=0.0609,
            scaling_factor=1.5305,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        text_encoder=clips[0],
        tokenizer=clip_letters,
        text_encoder_2=clips[1],
        tokenizer_2=clip_letters,
        text_encoder_3=t5,
        tokenizer_3=t5_letters,
        transformer=SD3Transformer2DModel(
            sample_size=16,
            patch_size=2,
            in_channels=16,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            caption_projection_dim=WIDTH,
            pooled_projection_dim=24,
            pos_embed_max_size=16,
            dual_attention_layers=(0,),
            qk_norm="rms_norm",
        ),
    ).save_pretrained(folder)
    return folder


def _qwen_parts(**transformer: bool) -> dict[str, Any]:
    """What Qwen-Image and Qwen-Image-Edit are both made of."""
    tokenizer = _qwen_letters()
    text_encoder = Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(
            text_config={**_text_config(tokenizer, layers=2), "rope_parameters": ROPE},
            vision_config={
                "depth": 1,
                "hidden_size": WIDTH,
                "intermediate_size": 37,
                "num_heads": 2,
                "out_hidden_size": WIDTH,
                "fullatt_block_indexes": [0],
                "initializer_range": 0.3,
            },
            **_vision_ids(tokenizer),
        )
    )
    return {
        "scheduler": _qwen_scheduler(),
        "vae": _qwen_vae(),
        "text_encoder": text_encoder,
        "tokenizer": tokenizer,
        "transformer": QwenImageTransformer2DModel(
            patch_size=2,
            in_channels=64,
            out_channels=16,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            axes_dims_rope=(4, 6, 6),
            **transformer,
        ),
    }


def _qwen_scheduler() -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True,
        base_shift=0.5,
        max_shift=0.9,
        base_image_seq_len=256,
        max_image_seq_len=8_192,
        shift_terminal=0.02,
    )


def _qwen3_vl(tokenizer: PreTrainedTokenizerFast, layers: int) -> Qwen3VLConfig:
    return Qwen3VLConfig(
        text_config={
            **_text_config(tokenizer, layers),
            "head_dim": 16,
            "rope_parameters": {**ROPE, "mrope_interleaved": True},
        },
        vision_config={
            "depth": 1,
            "hidden_size": WIDTH,
            "intermediate_size": 37,
            "num_heads": 2,
            "out_hidden_size": WIDTH,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0],
        },
        **_vision_ids(tokenizer),
    )


def _text_config(tokenizer: PreTrainedTokenizerFast, layers: int) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 2_048,
        "initializer_range": 0.3,  # at the default of 0.02, so narrow an encoder hardly mixes its tokens
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _vision_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    names = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
    return dict(zip(names, tokenizer.convert_tokens_to_ids(list(VISION)), strict=True))


def _qwen_letters(length: int = 2_048) -> PreTrainedTokenizerFast:
    """What follows a prompt is five tokens, as in Qwen's own vocabulary; Krea 2's pipeline relies on it."""
    return letters(length, "<pad>", "<|im_end|>", "<|im_start|>", "assistant", *VISION, end=False)


def _qwen_vae() -> AutoencoderKLQwenImage:
    return AutoencoderKLQwenImage(base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
