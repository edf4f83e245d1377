"""FLUX.1: 12 billion parameters, T5 and CLIP. Captions are read by T5 alone."""

from pipeline.families.base import ComfyUI, Family

FAMILY = Family(
    model="black-forest-labs/FLUX.1-dev",
    encoder="T5",
    limit=512,
    template=1,
    tokenizer="black-forest-labs/FLUX.1-dev/tokenizer_2",
    source="flux/pipeline_flux.py",
    licence="flux-1-dev-non-commercial-license",
    architecture="flux-1-dev",
    base_version="flux1",
    comfyui=ComfyUI(
        model="flux1-dev.safetensors",
        encoders=("clip_l.safetensors", "t5xxl_fp16.safetensors"),
        encoder_type="flux",
        vae="ae.safetensors",
    ),
    trainers={
        "ai_toolkit": {"is_flux": True},
        "diffsynth": {
            "example": "flux",
            "weights": [
                "black-forest-labs/FLUX.1-dev:flux1-dev.safetensors",
                "black-forest-labs/FLUX.1-dev:text_encoder/model.safetensors",
                "black-forest-labs/FLUX.1-dev:text_encoder_2/*.safetensors",
                "black-forest-labs/FLUX.1-dev:ae.safetensors",
            ],
            "layers": "a_to_qkv,b_to_qkv,ff_a.0,ff_a.2,ff_b.0,ff_b.2,a_to_out,b_to_out,proj_out,norm.linear,"
            "norm1_a.linear,norm1_b.linear,to_qkv_mlp",
            "flags": ["--align_to_opensource_format"],
        },
        "diffusers": {
            "script": "train_dreambooth_lora_flux_kontext.py",
            "guidance_scale": 1.0,
            "note": "Kontext's script, run without a column of conditions, trains FLUX.1-dev on captions alone; the "
            "script for FLUX.1 itself crops every grid to a square.",
        },
        "diffusion_pipe": {
            "type": "flux",
            "diffusers_path": "{models}/FLUX.1-dev",
            "dtype": "bfloat16",
            "transformer_dtype": "float8",
            "flux_shift": True,
            "guidance": 1.0,
        },
        "kohya": {
            "script": "flux_train_network.py",
            "arguments": {
                "pretrained_model_name_or_path": "{models}/flux1-dev.safetensors",
                "clip_l": "{models}/clip_l.safetensors",
                "t5xxl": "{models}/t5xxl_fp16.safetensors",
                "ae": "{models}/ae.safetensors",
                "network_module": "networks.lora_flux",
                "t5xxl_max_token_length": 512,
                "timestep_sampling": "flux_shift",
                "model_prediction_type": "raw",
                "guidance_scale": 1.0,
            },
        },
        "onetrainer": {"model_type": "FLUX_DEV_1", "dynamic_timestep_shifting": True},
        "simpletuner": {"model_family": "flux", "model_flavour": "dev"},
    },
)
