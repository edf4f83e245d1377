"""Tiny base models with the geometry of the real ones and seeded weights, built in code and saved as diffusers does.

A backend's contract test builds its model with the function here that is named like the backend's file. Latents have 16
channels and a stride of 8, tokens 16 pixels, and FLUX's packs 64 channels, so what holds here holds at full size. Texts
are read letter by letter, so that no vocabulary from a hub is needed.
"""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    ChromaPipeline,
    ChromaTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    FluxFillPipeline,
    FluxKontextPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
)

WIDTH = 32
"""Of the tokens in every encoder and transformer."""
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
"""Qwen3's for a single question: without thinking, an empty thought precedes the answer."""


def flux(folder: Path, *, guidance: bool = True, length: int = 512) -> Path:
    """A FLUX.1 in a folder.

    Args:
        guidance: whether it takes a guidance strength and shifts its noise levels with the resolution, as FLUX.1-dev
            does; otherwise it is like FLUX.1-schnell.
        length: tokens that T5 reads.
    """
    _flux(FluxPipeline, length, dynamic=guidance, guidance_embeds=guidance).save_pretrained(folder)
    return folder


def flux_1_kontext(folder: Path) -> Path:
    """A FLUX.1 Kontext in a folder, whose T5 reads 128 letters, to save time."""
    _flux(FluxKontextPipeline, 128).save_pretrained(folder)
    return folder


def flux_1_fill(folder: Path) -> Path:
    """A FLUX.1 Fill in a folder, whose T5 reads 128 letters, to save time."""
    _flux(FluxFillPipeline, 128, in_channels=384, out_channels=64).save_pretrained(folder)
    return folder


def _flux(kind: Any, length: int = 512, *, dynamic: bool = True, **transformer: Any) -> Any:
    """A pipeline with FLUX.1's parts.

    Args:
        dynamic: whether the noise levels are shifted with the resolution.
        transformer: changes to its config.
    """
    clip_letters = letters(77, "<pad>", "</s>", "<s>", start="<s>")
    torch.manual_seed(0)
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(clip_letters),
            hidden_size=WIDTH,
            intermediate_size=37,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=77,
            projection_dim=WIDTH,
            pad_token_id=clip_letters.pad_token_id,
            bos_token_id=clip_letters.bos_token_id,
            eos_token_id=clip_letters.eos_token_id,
        )
    )
    t5_letters, t5 = _t5(length)
    shift: dict[str, Any] = {"shift": 1.0, "use_dynamic_shifting": False}
    if dynamic:
        shift = {"shift": 3.0, "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15}
    config = {"in_channels": 64, "pooled_projection_dim": WIDTH, "guidance_embeds": True} | transformer
    return kind(
        scheduler=FlowMatchEulerDiscreteScheduler(**shift, base_image_seq_len=256, max_image_seq_len=4096),
        vae=_vae(),
        text_encoder=text_encoder,
        tokenizer=clip_letters,
        text_encoder_2=t5,
        tokenizer_2=t5_letters,
        transformer=FluxTransformer2DModel(**_BLOCKS, **config),
    )


_BLOCKS: dict[str, Any] = {
    "patch_size": 1,
    "num_layers": 1,
    "num_single_layers": 1,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": WIDTH,
    "axes_dims_rope": (4, 6, 6),
}
"""The sizes of FLUX.1's blocks, which Chroma shares."""


def _t5(length: int) -> tuple[PreTrainedTokenizerFast, T5EncoderModel]:
    """T5 and its tokenizer.

    Args:
        length: tokens that it reads.
    """
    t5_letters = letters(length, "<pad>", "</s>")
    config = T5Config(
        vocab_size=len(t5_letters),
        d_model=WIDTH,
        d_kv=8,
        d_ff=37,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        pad_token_id=t5_letters.pad_token_id,
        eos_token_id=t5_letters.eos_token_id,
    )
    return t5_letters, T5EncoderModel(config)


def chroma(folder: Path) -> Path:
    """A Chroma1 in a folder, whose T5 reads 128 letters, to save time."""
    torch.manual_seed(0)
    t5_letters, t5 = _t5(128)
    pipeline = ChromaPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=False, use_beta_sigmas=True),
        vae=_vae(),
        text_encoder=t5,
        tokenizer=t5_letters,
        transformer=ChromaTransformer2DModel(
            **_BLOCKS,
            in_channels=64,
            approximator_num_channels=16,
            approximator_hidden_dim=WIDTH,
            approximator_layers=1,
        ),
    )
    pipeline.save_pretrained(folder)
    return folder


def flux_2_klein(folder: Path, *, distilled: bool = False) -> Path:
    """A FLUX.2 [klein] in a folder, which reads 128 tokens: with its 28 layers of Qwen3 more would take long.

    Args:
        distilled: whether it samples without guidance.
    """
    qwen3_letters = letters(128, "<pad>", "<|im_end|>", "<|im_start|>", end=False)
    qwen3_letters.chat_template = CHAT
    torch.manual_seed(0)
    text_encoder = Qwen3ForCausalLM(_qwen3_config(qwen3_letters, 28, initializer_range=0.1))
    vae = AutoencoderKLFlux2(block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4, sample_size=1_024)
    vae.bn.running_mean.normal_()
    vae.bn.running_var.uniform_(0.5, 2.0)
    pipeline = Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            shift=3.0, use_dynamic_shifting=True, base_image_seq_len=256, max_image_seq_len=4096
        ),
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=qwen3_letters,
        transformer=Flux2Transformer2DModel(
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=3 * WIDTH,
            timestep_guidance_channels=32,
            axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=False,
        ),
        is_distilled=distilled,
    )
    pipeline.save_pretrained(folder)
    return folder


def _qwen3_config(tokenizer: PreTrainedTokenizerFast, layers: int, **more: Any) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=1_024,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **more,
    )


def z_image(folder: Path, *, length: int = 512) -> Path:
    """A Z-Image in a folder.

    Args:
        length: tokens that Qwen3 reads at most.
    """
    qwen3_letters = letters(length, "<pad>", "<|im_end|>", "<|im_start|>", end=False)
    qwen3_letters.chat_template = CHAT
    torch.manual_seed(0)
    # At the default range of 0.02, so narrow an encoder hardly mixes its tokens.
    text_encoder = Qwen3Model(_qwen3_config(qwen3_letters, 3, initializer_range=0.3))
    transformer = ZImageTransformer2DModel(
        in_channels=16,
        dim=WIDTH,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=WIDTH,
        axes_dims=[4, 6, 6],
    )
    for token in (transformer.x_pad_token, transformer.cap_pad_token):
        torch.nn.init.normal_(token, std=0.5)  # zeros, or uninitialised memory in older diffusers
    pipeline = ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=False),
        vae=_vae(),
        text_encoder=text_encoder,
        tokenizer=qwen3_letters,
        transformer=transformer,
    )
    pipeline.save_pretrained(folder)
    return folder


def _vae() -> AutoencoderKL:
    """FLUX.1's, which Z-Image and Chroma use as well."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=4,
        shift_factor=0.1159,
        scaling_factor=0.3611,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def letters(
    length: int, pad: str, stop: str, *others: str, start: str | None = None, end: bool = True
) -> PreTrainedTokenizerFast:
    """A tokenizer whose words are single letters.

    Args:
        length: its limit in tokens.
        stop: the end token.
        others: further special tokens.
        start: the token before every text.
        end: whether the end token follows every text.
    """
    marks = (pad, stop, "<unk>", *others)
    words = {word: index for index, word in enumerate((*marks, *string.printable))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    if end:
        around = f"{start} $A {stop}" if start else f"$A {stop}"
        tokenizer.post_processor = processors.TemplateProcessing(
            single=around, special_tokens=[(mark, words[mark]) for mark in marks]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=length,
        pad_token=pad,
        eos_token=stop,
        unk_token="<unk>",
        bos_token=start,
        additional_special_tokens=list(others),
        padding_side="right",
    )


def vit(folder: Path) -> Path:
    """timm's smallest ViT, as `save_for_hf` writes one."""
    import timm
    from timm.models import save_for_hf

    torch.manual_seed(0)
    model = timm.create_model("test_vit.r160_in1k", pretrained=False, num_classes=0)
    save_for_hf(model, str(folder), model_config={"num_classes": 0}, safe_serialization=True)
    return folder


def rt_detr(folder: Path) -> Path:
    """An RT-DETR that finds people and cats wherever its weights have it."""
    from transformers import RTDetrImageProcessor, RTDetrResNetConfig, RTDetrV2Config, RTDetrV2ForObjectDetection

    torch.manual_seed(0)
    backbone = RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = RTDetrV2Config(
        backbone_config=backbone,
        encoder_hidden_dim=16,
        encoder_in_channels=[16, 16, 16],
        encoder_ffn_dim=16,
        encoder_attention_heads=2,
        d_model=16,
        num_queries=12,
        decoder_in_channels=[16, 16, 16],
        decoder_ffn_dim=16,
        decoder_layers=2,
        decoder_attention_heads=2,
        num_denoising=0,
        id2label={0: "person", 1: "cat"},
        label2id={"person": 0, "cat": 1},
    )
    RTDetrV2ForObjectDetection(config).save_pretrained(folder)
    RTDetrImageProcessor(size={"height": 128, "width": 128}).save_pretrained(folder)
    return folder
