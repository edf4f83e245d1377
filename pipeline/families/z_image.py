"""Z-Image: 6 billion parameters, one stream of image and text tokens, text is read by Qwen3."""

from pipeline.families.base import ComfyUI, Family

FAMILY = Family(
    model="Tongyi-MAI/Z-Image",
    encoder="Qwen3",
    limit=512,
    template=8,
    tokenizer="Tongyi-MAI/Z-Image-Turbo/tokenizer",
    source="z_image/pipeline_z_image.py",
    licence="apache-2.0",
    # musubi-tuner starts from it (docs/zimage.md: discrete_flow_shift 2.0). With the 6 of sampling, only 3.7 % of the
    # levels are below 0.5, and half of them above 0.86.
    shift=2.0,
    comfyui=ComfyUI(
        model="z_image_bf16.safetensors",
        encoders=("qwen_3_4b.safetensors",),
        encoder_type="lumina2",
        vae="ae.safetensors",
    ),
    trainers={
        "ai_toolkit": {"arch": "zimage", "quantize_te": True},
        "diffsynth": {
            "example": "z_image",
            "weights": [
                "Tongyi-MAI/Z-Image:transformer/*.safetensors",
                "Tongyi-MAI/Z-Image-Turbo:text_encoder/*.safetensors",
                "Tongyi-MAI/Z-Image-Turbo:vae/diffusion_pytorch_model.safetensors",
            ],
            "layers": "to_q,to_k,to_v,to_out.0,w1,w2,w3",
        },
        "diffusers": {"script": "train_dreambooth_lora_z_image.py"},
        "diffusion_pipe": {
            "type": "z_image",
            "diffusion_model": "{models}/z_image_bf16.safetensors",
            "vae": "{models}/flux_vae.safetensors",
            "text_encoders": [{"path": "{models}/qwen_3_4b.safetensors", "type": "lumina2"}],
            "dtype": "bfloat16",
        },
        "musubi_tuner": {
            "script": "zimage",
            "dit": "{models}/z_image_bf16.safetensors",
            "vae": "{models}/ae.safetensors",
            "encoders": {"text_encoder": "{models}/qwen_3_4b.safetensors"},
            "network": "networks.lora_zimage",
            "sampling": {"timestep_sampling": "shift", "discrete_flow_shift": 2.0},
        },
        "onetrainer": {"model_type": "Z_IMAGE"},
        "simpletuner": {"model_family": "z_image", "model_flavour": "base"},
    },
)
