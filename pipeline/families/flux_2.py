"""FLUX.2 [dev]: text is read by Mistral Small."""

from pipeline.families._flux_2 import diffsynth_layers
from pipeline.families.base import INSTRUCTION, Family, References

FAMILY = Family(
    model="black-forest-labs/FLUX.2-dev",
    encoder="Mistral",
    limit=512,
    template=45,
    tokenizer="black-forest-labs/FLUX.2-dev/tokenizer",
    source="flux2/pipeline_flux2.py",
    licence="flux-dev-non-commercial-license",
    trainers={
        "ai_toolkit": {"arch": "flux2", "quantize_te": True},
        "diffsynth": {
            "example": "flux2",
            "weights": [
                "black-forest-labs/FLUX.2-dev:text_encoder/*.safetensors",
                "black-forest-labs/FLUX.2-dev:transformer/*.safetensors",
                "black-forest-labs/FLUX.2-dev:vae/diffusion_pytorch_model.safetensors",
            ],
            "layers": diffsynth_layers(48),
        },
        "diffusers": {"script": "train_dreambooth_lora_flux2.py", "guidance_scale": 1.0},
        "diffusion_pipe": {
            "type": "flux2",
            "diffusion_model": "{models}/flux2-dev.safetensors",
            "vae": "{models}/flux2-vae.safetensors",
            "text_encoders": [{"path": "{models}/mistral_3_small_flux2_fp8.safetensors", "type": "flux2"}],
            "dtype": "bfloat16",
            "diffusion_model_dtype": "float8",
            "timestep_sample_method": "logit_normal",
            "shift": 3,
        },
        "musubi_tuner": {
            "script": "flux_2",
            "version": {"model_version": "dev"},
            "dit": "{models}/flux2-dev.safetensors",
            "vae": "{models}/ae.safetensors",
            "encoders": {"text_encoder": "{models}/FLUX.2-dev/text_encoder/model-00001-of-00010.safetensors"},
            "network": "networks.lora_flux_2",
            "sampling": {"timestep_sampling": "flux2_shift"},
        },
        "onetrainer": {"model_type": "FLUX_2", "dynamic_timestep_shifting": True},
        "simpletuner": {"model_family": "flux2", "model_flavour": "dev"},
    },
    references=References(
        most=6,
        template=INSTRUCTION,
        trainers={
            "ai_toolkit": {},
            "diffsynth": {},
            "diffusers": {"script": "train_dreambooth_lora_flux2_img2img.py"},
            "diffusion_pipe": {},
            "musubi_tuner": {},
            "simpletuner": {},
        },
    ),
)
