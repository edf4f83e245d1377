"""Ideogram 4: trained on long structured captions, read by Qwen3-VL."""

from pipeline.families.base import Family

FAMILY = Family(
    model="ideogram-ai/ideogram-4-nf4-diffusers",
    encoder="Qwen3-VL",
    limit=2048,
    template=8,
    tokenizer="ideogram-ai/ideogram-4-nf4-diffusers/tokenizer",
    source="ideogram4/pipeline_ideogram4.py",
    licence="ideogram-non-commercial-model-agreement",
    trainers={
        "ai_toolkit": {"arch": "ideogram4", "name_or_path": "ideogram-ai/ideogram-4-fp8", "quantize_te": True},
        "diffsynth": {
            "example": "ideogram4",
            "weights": [
                "ideogram-ai/ideogram-4-fp8:transformer/diffusion_pytorch_model.safetensors",
                "ideogram-ai/ideogram-4-fp8:text_encoder/model.safetensors",
                "ideogram-ai/ideogram-4-fp8:vae/diffusion_pytorch_model.safetensors",
            ],
            "layers": "attention.qkv,attention.o,feed_forward.w1,feed_forward.w2,feed_forward.w3,adaln_modulation",
            "flags": ["--find_unused_parameters"],
        },
        "diffusers": {
            "script": "train_dreambooth_lora_ideogram4.py",
            "without": ["--use_aspect_ratio_buckets"],  # it always uses them
        },
        "diffusion_pipe": {
            "type": "ideogram4",
            "diffusion_model": "{models}/ideogram4_fp8_scaled.safetensors",
            "vae": "{models}/flux2-vae.safetensors",
            "text_encoders": [{"path": "{models}/qwen3vl_8b_fp8_scaled.safetensors", "type": "ideogram4"}],
            "dtype": "bfloat16",
            "diffusion_model_dtype": "float8",
            "timestep_sample_method": "logit_normal",
            "shift": 3,
        },
        # It reads no quantized weights, and its own preset names this repository.
        "onetrainer": {
            "model_type": "IDEOGRAM_4",
            "base_model_name": "CalamitousFelicitousness/Ideogram-4-bf16-Diffusers",
            "output_model_format": "COMFY_LORA",
        },
        "simpletuner": {"model_family": "ideogram", "model_flavour": "nf4"},
    },
)
