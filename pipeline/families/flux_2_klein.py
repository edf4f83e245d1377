"""FLUX.2 [klein]: the base models of 4 and 9 billion parameters. LoRAs of one do not fit the other."""

from pipeline.families._flux_2 import diffsynth_layers
from pipeline.families.base import INSTRUCTION, ComfyUI, Family, References

FAMILY = Family(
    model="black-forest-labs/FLUX.2-klein-base-4B",
    encoder="Qwen3",
    limit=512,
    template=12,
    tokenizer="black-forest-labs/FLUX.2-klein-base-4B/tokenizer",
    source="flux2/pipeline_flux2_klein.py",
    licence="apache-2.0",
    recipe={"sample_steps": 50, "guidance": 4.0},  # the pipeline's own
    comfyui=ComfyUI(
        model="flux-2-klein-base-4b.safetensors",
        encoders=("qwen_3_4b.safetensors",),
        encoder_type="flux2",
        vae="flux2-vae.safetensors",
        latent="EmptyFlux2LatentImage",
        references="ReferenceLatent",
        others={
            "black-forest-labs/FLUX.2-klein-4B": {"model": "flux-2-klein-4b.safetensors"},
            "black-forest-labs/FLUX.2-klein-base-9B": {
                "model": "flux-2-klein-base-9b-fp8.safetensors",
                "encoders": ("qwen_3_8b_fp8mixed.safetensors",),
            },
            "black-forest-labs/FLUX.2-klein-9B": {
                "model": "flux-2-klein-9b-fp8.safetensors",
                "encoders": ("qwen_3_8b_fp8mixed.safetensors",),
            },
        },
    ),
    trainers={
        "ai_toolkit": {"arch": "flux2_klein_4b"},
        "diffsynth": {
            "example": "flux2",
            "weights": [
                "black-forest-labs/FLUX.2-klein-4B:text_encoder/*.safetensors",
                "black-forest-labs/FLUX.2-klein-base-4B:transformer/*.safetensors",
                "black-forest-labs/FLUX.2-klein-4B:vae/diffusion_pytorch_model.safetensors",
            ],
            "layers": diffsynth_layers(20),
            "flags": ["--tokenizer_path black-forest-labs/FLUX.2-klein-4B:tokenizer/"],
        },
        "diffusers": {"script": "train_dreambooth_lora_flux2_klein.py"},
        "diffusion_pipe": {
            "type": "flux2",
            "diffusion_model": "{models}/flux-2-klein-base-4b.safetensors",
            "vae": "{models}/flux2-vae.safetensors",
            "text_encoders": [{"path": "{models}/qwen_3_4b.safetensors", "type": "flux2"}],
            "dtype": "bfloat16",
            "timestep_sample_method": "logit_normal",
            "shift": 3,
        },
        "musubi_tuner": {
            "script": "flux_2",
            "version": {"model_version": "klein-base-4b"},
            "dit": "{models}/flux2-klein-base-4b.safetensors",
            "vae": "{models}/ae.safetensors",
            "encoders": {"text_encoder": "{models}/qwen_3_4b.safetensors"},
            "network": "networks.lora_flux_2",
            "sampling": {"timestep_sampling": "flux2_shift"},
        },
        "onetrainer": {"model_type": "FLUX_2", "dynamic_timestep_shifting": True},
        "simpletuner": {"model_family": "flux2", "model_flavour": "klein-4b"},
    },
    others={
        "black-forest-labs/FLUX.2-klein-base-9B": {
            "ai_toolkit": {"arch": "flux2_klein_9b"},
            "diffsynth": {
                "weights": [
                    "black-forest-labs/FLUX.2-klein-9B:text_encoder/*.safetensors",
                    "black-forest-labs/FLUX.2-klein-base-9B:transformer/*.safetensors",
                    "black-forest-labs/FLUX.2-klein-9B:vae/diffusion_pytorch_model.safetensors",
                ],
                "layers": diffsynth_layers(24),
                "flags": ["--tokenizer_path black-forest-labs/FLUX.2-klein-9B:tokenizer/"],
            },
            "diffusers": {},
            "diffusion_pipe": {
                "diffusion_model": "{models}/flux-2-klein-base-9b.safetensors",
                "text_encoders": [{"path": "{models}/qwen_3_8b.safetensors", "type": "flux2"}],
                "diffusion_model_dtype": "float8",
            },
            "musubi_tuner": {
                "version": {"model_version": "klein-base-9b"},
                "dit": "{models}/flux2-klein-base-9b.safetensors",
                "encoders": {"text_encoder": "{models}/FLUX.2-klein-9B/text_encoder/model-00001-of-00004.safetensors"},
            },
            "onetrainer": {},
            "simpletuner": {"model_flavour": "klein-9b"},
        },
    },
    references=References(
        most=4,
        template=INSTRUCTION,
        trainers={
            "ai_toolkit": {},
            "diffsynth": {},
            "diffusers": {"script": "train_dreambooth_lora_flux2_klein_img2img.py"},
            "diffusion_pipe": {},
            "musubi_tuner": {},
            "simpletuner": {},
        },
    ),
)
