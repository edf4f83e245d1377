"""Qwen-Image: 20 billion parameters, text is read by Qwen2.5-VL; trained on is the release of December 2025."""

from pipeline.families.base import ComfyUI, Family

FAMILY = Family(
    model="Qwen/Qwen-Image-2512",
    encoder="Qwen2.5-VL",
    limit=512,
    template=5,
    tokenizer="Qwen/Qwen-Image-2512/tokenizer",
    source="qwenimage/pipeline_qwenimage.py",
    licence="apache-2.0",
    recipe={"guidance": 4.0, "sample_steps": 50},
    comfyui=ComfyUI(
        model="qwen_image_2512_fp8_e4m3fn.safetensors",
        encoders=("qwen_2.5_vl_7b_fp8_scaled.safetensors",),
        encoder_type="qwen_image",
        vae="qwen_image_vae.safetensors",
        others={"Qwen/Qwen-Image": {"model": "qwen_image_fp8_e4m3fn.safetensors"}},
    ),
    trainers={
        "ai_toolkit": {"arch": "qwen_image", "quantize_te": True},
        "diffsynth": {
            "example": "qwen_image",
            "weights": [
                "Qwen/Qwen-Image-2512:transformer/diffusion_pytorch_model*.safetensors",
                "Qwen/Qwen-Image:text_encoder/model*.safetensors",
                "Qwen/Qwen-Image:vae/diffusion_pytorch_model.safetensors",
            ],
            "layers": "to_q,to_k,to_v,to_out.0,add_q_proj,add_k_proj,add_v_proj,to_add_out",
        },
        "diffusers": {"script": "train_dreambooth_lora_qwen_image.py"},
        "diffusion_pipe": {
            "type": "qwen_image",
            "diffusers_path": "{models}/Qwen-Image-2512",
            "dtype": "bfloat16",
            "transformer_dtype": "float8",
            "timestep_sample_method": "logit_normal",
        },
        "musubi_tuner": {
            "script": "qwen_image",
            "version": {"model_version": "original"},  # its name for both releases, which are of one architecture
            "dit": "{models}/qwen_image_2512_bf16.safetensors",
            "vae": "{models}/qwen_image_vae.safetensors",
            "encoders": {"text_encoder": "{models}/qwen_2.5_vl_7b.safetensors"},
            "network": "networks.lora_qwen_image",
            "sampling": {"timestep_sampling": "shift", "discrete_flow_shift": 2.2},
        },
        "onetrainer": {"model_type": "QWEN"},
        "simpletuner": {"model_family": "qwen_image", "model_flavour": "v2.0"},
    },
    others={
        "Qwen/Qwen-Image": {
            "ai_toolkit": {},
            "diffsynth": {
                "weights": [
                    "Qwen/Qwen-Image:transformer/diffusion_pytorch_model*.safetensors",
                    "Qwen/Qwen-Image:text_encoder/model*.safetensors",
                    "Qwen/Qwen-Image:vae/diffusion_pytorch_model.safetensors",
                ],
            },
            "diffusers": {},
            "diffusion_pipe": {"diffusers_path": "{models}/Qwen-Image"},
            "musubi_tuner": {"dit": "{models}/qwen_image_bf16.safetensors"},
            "onetrainer": {},
            "simpletuner": {"model_flavour": "v1.0"},
        },
    },
)
