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
        "simpletuner": {"model_family": "ideogram", "model_flavour": "nf4"},
    },
)
