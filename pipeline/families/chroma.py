"""Chroma1-HD: 8.9 billion parameters, text is read by T5 alone."""

from pipeline.families.base import ComfyUI, Family

FAMILY = Family(
    model="lodestones/Chroma1-HD",
    encoder="T5",
    limit=512,
    template=1,
    tokenizer="lodestones/Chroma1-HD/tokenizer",
    source="chroma/pipeline_chroma.py",
    licence="apache-2.0",
    architecture="chroma",
    recipe={"sample_steps": 26},  # ComfyUI's template; it and the recipe have a guidance of 3.5
    comfyui=ComfyUI(
        model="Chroma1-HD-fp8mixed.safetensors",
        encoders=("t5xxl_fp8_e4m3fn_scaled.safetensors",),
        encoder_type="chroma",
        vae="ae.safetensors",
    ),
    trainers={
        "ai_toolkit": {"arch": "chroma", "name_or_path": "lodestones/Chroma"},
        "kohya": {
            "script": "flux_train_network.py",
            "arguments": {
                "pretrained_model_name_or_path": "{models}/Chroma1-HD.safetensors",
                "model_type": "chroma",
                "t5xxl": "{models}/t5xxl_fp16.safetensors",
                "ae": "{models}/ae.safetensors",
                "network_module": "networks.lora_flux",
                "apply_t5_attn_mask": True,
                "timestep_sampling": "sigmoid",
                "model_prediction_type": "raw",
                "guidance_scale": 0.0,
            },
        },
        "onetrainer": {"model_type": "CHROMA_1"},
        "simpletuner": {"model_family": "chroma", "model_flavour": "hd"},
    },
)
