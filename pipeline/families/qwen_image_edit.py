"""Qwen-Image-Edit: Qwen-Image with up to three reference images, which Qwen2.5-VL sees beside the text."""

from pipeline.families.base import INSTRUCTION, ComfyUI, Family, References

FAMILY = Family(
    model="Qwen/Qwen-Image-Edit-2511",
    encoder="Qwen2.5-VL",
    # Its pipeline names 1,024 tokens as the most, but truncates nothing: reference images stand before the caption.
    limit=1024,
    template=5,
    tokenizer="Qwen/Qwen-Image-Edit-2511/tokenizer",
    source="qwenimage/pipeline_qwenimage_edit_plus.py",
    licence="apache-2.0",
    recipe={"guidance": 4.0, "sample_steps": 40},
    comfyui=ComfyUI(
        model="qwen_image_edit_2511_fp8mixed.safetensors",
        encoders=("qwen_2.5_vl_7b_fp8_scaled.safetensors",),
        encoder_type="qwen_image",
        vae="qwen_image_vae.safetensors",
        rescaled="CFGNorm",
        references="TextEncodeQwenImageEditPlus",
        reference_method="index_timestep_zero",
        others={
            "Qwen/Qwen-Image-Edit-2509": {
                "model": "qwen_image_edit_2509_fp8_e4m3fn.safetensors",
                "reference_method": "",
            }
        },
    ),
    others={
        "Qwen/Qwen-Image-Edit-2509": {
            "ai_toolkit": {},
            "diffsynth": {
                "weights": [
                    "Qwen/Qwen-Image-Edit-2509:transformer/diffusion_pytorch_model*.safetensors",
                    "Qwen/Qwen-Image:text_encoder/model*.safetensors",
                    "Qwen/Qwen-Image:vae/diffusion_pytorch_model.safetensors",
                ],
                "flags": [],
            },
            "musubi_tuner": {
                "version": {"model_version": "edit-2509"},
                "dit": "{models}/qwen_image_edit_2509_bf16.safetensors",
            },
            "simpletuner": {"model_flavour": "edit-v2"},
        },
    },
    # ai-toolkit and SimpleTuner refuse to train it without reference images, and the others have no script for it.
    # diffusion-pipe knows the first Qwen-Image-Edit only: other words around the caption, no noise-free references.
    references=References(
        most=3,
        template=INSTRUCTION,
        trainers={
            "ai_toolkit": {"arch": "qwen_image_edit_plus", "quantize_te": True},
            "diffsynth": {
                "example": "qwen_image",
                "weights": [
                    "Qwen/Qwen-Image-Edit-2511:transformer/diffusion_pytorch_model*.safetensors",
                    "Qwen/Qwen-Image:text_encoder/model*.safetensors",
                    "Qwen/Qwen-Image:vae/diffusion_pytorch_model.safetensors",
                ],
                "layers": "to_q,to_k,to_v,to_out.0,add_q_proj,add_k_proj,add_v_proj,to_add_out",
                "flags": ["--zero_cond_t"],
            },
            "musubi_tuner": {
                "script": "qwen_image",
                "version": {"model_version": "edit-2511"},
                "dit": "{models}/qwen_image_edit_2511_bf16.safetensors",
                "vae": "{models}/qwen_image_vae.safetensors",
                "encoders": {"text_encoder": "{models}/qwen_2.5_vl_7b.safetensors"},
                "network": "networks.lora_qwen_image",
                "sampling": {"timestep_sampling": "shift", "discrete_flow_shift": 2.2},
            },
            "simpletuner": {"model_family": "qwen_image", "model_flavour": "edit-v3"},
        },
    ),
)
