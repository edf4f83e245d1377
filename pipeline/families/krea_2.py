"""Krea 2: 13 billion parameters, one stream of text and image tokens, text is read by Qwen3-VL. LoRAs are trained on
Raw and drawn with on Raw or Turbo."""

from pipeline.families.base import DESCRIPTION, ComfyUI, Family, References

FAMILY = Family(
    model="krea/Krea-2-Raw",
    encoder="Qwen3-VL",
    limit=512,
    template=5,
    tokenizer="krea/Krea-2-Raw/tokenizer",
    source="krea2/pipeline_krea2.py",
    licence="krea-2-community-license",
    recipe={"rank": 32, "alpha": 32.0, "guidance": 4.5, "sample_steps": 28},
    comfyui=ComfyUI(
        model="krea2_raw_bf16.safetensors",
        encoders=("qwen3vl_4b_fp8_scaled.safetensors",),
        encoder_type="krea2",
        vae="qwen_image_vae.safetensors",
        latent="EmptyLatentImage",
        others={"krea/Krea-2-Turbo": {"model": "krea2_turbo_fp8_scaled.safetensors"}},
    ),
    trainers={
        "ai_toolkit": {"arch": "krea2", "quantize_te": True},
        "diffsynth": {
            "example": "krea2",
            "weights": [
                "krea/Krea-2-Raw:raw.safetensors",
                "Qwen/Qwen3-VL-4B-Instruct:*.safetensors",
                "Qwen/Qwen-Image:vae/diffusion_pytorch_model.safetensors",
            ],
            "layers": "wq,wk,wv,wo,gate,up,down,first,tmlp.0,tmlp.2,projector,txtmlp.1,txtmlp.3,last.linear,tproj.1",
            "flags": ["--tokenizer_path Qwen/Qwen3-VL-4B-Instruct:", "--align_to_opensource_format"],
        },
        "diffusers": {"script": "train_dreambooth_lora_krea2.py"},
        "diffusion_pipe": {
            "type": "krea2",
            "diffusion_model": "{models}/krea2_raw_bf16.safetensors",
            "vae": "{models}/qwen_image_vae.safetensors",
            "text_encoders": [{"path": "{models}/qwen3vl_4b_bf16.safetensors", "type": "krea2"}],
            "dtype": "bfloat16",
            "diffusion_model_dtype": "float8",
            "timestep_sample_method": "logit_normal",
        },
        "musubi_tuner": {
            "script": "krea2",
            "dit": "{models}/krea2_raw_bf16.safetensors",
            "vae": "{models}/qwen_image_vae.safetensors",
            "encoders": {"text_encoder": "{models}/qwen3vl_4b_bf16.safetensors"},
            "network": "networks.lora_krea2",
            "sampling": {"timestep_sampling": "shift", "discrete_flow_shift": 2.5},
        },
        "onetrainer": {"model_type": "KREA_2"},
        "simpletuner": {"model_family": "krea2", "model_flavour": "raw"},
    },
    # Its own pipeline takes none; ai-toolkit gives them as tokens without noise, and ComfyUI has a node for them.
    references=References(most=3, template=DESCRIPTION, trainers={"ai_toolkit": {"model_kwargs": {"edit": True}}}),
)
