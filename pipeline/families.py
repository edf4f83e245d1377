"""Base models that an In-Context LoRA may be trained on: how much of a caption the text encoder of each reads.

What is beyond the limit is cut off without a word, and the last panels go first. Limits and templates are those of the
text-to-image pipelines in diffusers 0.42. CLIP's 77 tokens are no limit here: FLUX.1 and SD3.5 take from it a summary
vector only, the panels come through the encoder named.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Base:
    """One family of models."""

    encoder: str
    """The text encoder's name, for a person."""
    limit: int
    """Tokens that it reads, the template's included."""
    template: int
    """Tokens of the limit that stand around the caption: end mark, chat marks, the pipeline's own system prompt."""
    tokenizer: str
    """Model on the hub that has the tokenizer, and the folder in it."""
    source: str
    """Where the limit is set: the pipeline's file in diffusers."""


BASES = {
    "flux-1": Base("T5", 512, 1, "black-forest-labs/FLUX.1-dev/tokenizer_2", "flux/pipeline_flux.py"),
    "flux-2": Base("Mistral", 512, 45, "black-forest-labs/FLUX.2-dev/tokenizer", "flux2/pipeline_flux2.py"),
    "flux-2-klein": Base(
        "Qwen3", 512, 12, "black-forest-labs/FLUX.2-klein-base-4B/tokenizer", "flux2/pipeline_flux2_klein.py"
    ),
    "qwen-image": Base("Qwen2.5-VL", 512, 5, "Qwen/Qwen-Image/tokenizer", "qwenimage/pipeline_qwenimage.py"),
    "z-image": Base("Qwen3", 512, 8, "Tongyi-MAI/Z-Image-Turbo/tokenizer", "z_image/pipeline_z_image.py"),
    "sd-3.5": Base(
        "T5",
        256,
        1,
        "stabilityai/stable-diffusion-3.5-large/tokenizer_3",
        "stable_diffusion_3/pipeline_stable_diffusion_3.py",
    ),
    "hidream-i1": Base(
        "T5 and Llama", 128, 1, "HiDream-ai/HiDream-I1-Full/tokenizer_3", "hidream_image/pipeline_hidream_image.py"
    ),
    "lumina-2": Base("Gemma", 256, 36, "Alpha-VLLM/Lumina-Image-2.0/tokenizer", "lumina2/pipeline_lumina2.py"),
    "sana": Base(
        "Gemma", 300, 2, "Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers/tokenizer", "sana/pipeline_sana.py"
    ),
    "chroma": Base("T5", 512, 1, "lodestones/Chroma1-HD/tokenizer", "chroma/pipeline_chroma.py"),
    "cogview-4": Base("GLM", 1024, 2, "THUDM/CogView4-6B/tokenizer", "cogview4/pipeline_cogview4.py"),
    "hunyuan-image": Base(
        "Qwen2.5-VL",
        1000,
        1,
        "hunyuanvideo-community/HunyuanImage-2.1-Diffusers/tokenizer",
        "hunyuan_image/pipeline_hunyuanimage.py",
    ),
    "pixart-sigma": Base(
        "T5", 300, 1, "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS/tokenizer", "pixart_alpha/pipeline_pixart_sigma.py"
    ),
    "auraflow": Base("T5", 256, 1, "fal/AuraFlow/tokenizer", "aura_flow/pipeline_aura_flow.py"),
    "ovis-image": Base("Qwen3", 256, 9, "AIDC-AI/Ovis-Image-7B/tokenizer", "ovis_image/pipeline_ovis_image.py"),
    "bria-fibo": Base("SmolLM3", 3000, 1, "briaai/FIBO/tokenizer", "bria_fibo/pipeline_bria_fibo.py"),
}
