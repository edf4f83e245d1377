"""Stable Diffusion 3.5 Large: T5 and two CLIPs; captions are read by T5 alone."""

from pipeline.families.base import ComfyUI, Family

FAMILY = Family(
    model="stabilityai/stable-diffusion-3.5-large",
    encoder="T5",
    limit=256,
    template=1,
    tokenizer="stabilityai/stable-diffusion-3.5-large/tokenizer_3",
    source="stable_diffusion_3/pipeline_stable_diffusion_3.py",
    licence="stabilityai-ai-community",
    recipe={"sample_steps": 28},
    comfyui=ComfyUI(
        model="sd3.5_large_fp8_scaled.safetensors",
        noise_levels="ModelSamplingSD3",
        others={
            "stabilityai/stable-diffusion-3.5-medium": {"model": "sd3.5_medium_incl_clips_t5xxlfp8scaled.safetensors"}
        },
    ),
    trainers={
        "ai_toolkit": {"is_v3": True},
        "diffusers": {"square": "train_dreambooth_lora_sd3.py"},
        "diffusion_pipe": {
            "type": "sd3",
            "diffusers_path": "{models}/stable-diffusion-3.5-large",
            "dtype": "bfloat16",
            "transformer_dtype": "float8",
            "flux_shift": True,
        },
        "kohya": {
            "script": "sd3_train_network.py",
            "arguments": {
                "pretrained_model_name_or_path": "{models}/sd3.5_large.safetensors",
                "clip_l": "{models}/clip_l.safetensors",
                "clip_g": "{models}/clip_g.safetensors",
                "t5xxl": "{models}/t5xxl_fp16.safetensors",
                "network_module": "networks.lora_sd3",
                "t5xxl_max_token_length": 256,
            },
        },
        "onetrainer": {"model_type": "STABLE_DIFFUSION_35"},
        "simpletuner": {"model_family": "sd3", "model_flavour": "large"},
    },
    others={
        "stabilityai/stable-diffusion-3.5-medium": {
            "ai_toolkit": {},
            "diffusion_pipe": {"diffusers_path": "{models}/stable-diffusion-3.5-medium"},
            "kohya": {
                "arguments": {
                    "pretrained_model_name_or_path": "{models}/sd3.5_medium.safetensors",
                    "clip_l": "{models}/clip_l.safetensors",
                    "clip_g": "{models}/clip_g.safetensors",
                    "t5xxl": "{models}/t5xxl_fp16.safetensors",
                    "network_module": "networks.lora_sd3",
                    "t5xxl_max_token_length": 256,
                },
            },
            "onetrainer": {},
            "simpletuner": {"model_flavour": "medium"},
        },
    },
)
