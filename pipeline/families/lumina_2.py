"""Lumina-Image 2.0: text is read by Gemma 2."""

from pipeline.families.base import Family

FAMILY = Family(
    model="Alpha-VLLM/Lumina-Image-2.0",
    encoder="Gemma",
    limit=256,
    template=36,
    tokenizer="Alpha-VLLM/Lumina-Image-2.0/tokenizer",
    source="lumina2/pipeline_lumina2.py",
    licence="apache-2.0",
    trainers={
        "ai_toolkit": {"is_lumina2": True},
        "diffusers": {"square": "train_dreambooth_lora_lumina2.py"},
        "diffusion_pipe": {
            "type": "lumina_2",
            "transformer_path": "{models}/lumina_2_model_bf16.safetensors",
            "llm_path": "{models}/gemma_2_2b_fp16.safetensors",
            "vae_path": "{models}/flux_vae.safetensors",
            "dtype": "bfloat16",
            "lumina_shift": True,
        },
        "kohya": {
            "script": "lumina_train_network.py",
            "arguments": {
                "pretrained_model_name_or_path": "{models}/lumina-image-2.safetensors",
                "gemma2": "{models}/gemma-2-2b.safetensors",
                "ae": "{models}/ae.safetensors",
                "network_module": "networks.lora_lumina",
                "timestep_sampling": "nextdit_shift",
                "discrete_flow_shift": 6.0,
                "model_prediction_type": "raw",
            },
        },
        "simpletuner": {"model_family": "lumina2"},
    },
)
