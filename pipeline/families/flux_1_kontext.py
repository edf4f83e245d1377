"""FLUX.1 Kontext [dev]: FLUX.1 that draws after a reference image."""

from pipeline.families.base import INSTRUCTION, ComfyUI, Family, References

FAMILY = Family(
    model="black-forest-labs/FLUX.1-Kontext-dev",
    encoder="T5",
    limit=512,
    template=1,
    tokenizer="black-forest-labs/FLUX.1-Kontext-dev/tokenizer_2",
    source="flux/pipeline_flux_kontext.py",
    licence="flux-1-dev-non-commercial-license",
    recipe={"sample_steps": 28, "guidance": 2.5},  # the pipeline's steps; the guidance of its example
    comfyui=ComfyUI(
        model="flux1-dev-kontext_fp8_scaled.safetensors",
        encoders=("clip_l.safetensors", "t5xxl_fp8_e4m3fn_scaled.safetensors"),
        encoder_type="flux",
        vae="ae.safetensors",
        references="ReferenceLatent",
        reference_scale="FluxKontextImageScale",
    ),
    trainers={
        "ai_toolkit": {"arch": "flux_kontext"},
        "diffsynth": {
            "example": "flux",
            "weights": [
                "black-forest-labs/FLUX.1-Kontext-dev:flux1-kontext-dev.safetensors",
                "black-forest-labs/FLUX.1-dev:text_encoder/model.safetensors",
                "black-forest-labs/FLUX.1-dev:text_encoder_2/*.safetensors",
                "black-forest-labs/FLUX.1-dev:ae.safetensors",
            ],
            "layers": "a_to_qkv,b_to_qkv,ff_a.0,ff_a.2,ff_b.0,ff_b.2,a_to_out,b_to_out,proj_out,norm.linear,"
            "norm1_a.linear,norm1_b.linear,to_qkv_mlp",
            "flags": ["--align_to_opensource_format"],
        },
        "diffusers": {"script": "train_dreambooth_lora_flux_kontext.py", "guidance_scale": 1.0},
        "diffusion_pipe": {
            "type": "flux",
            "diffusers_path": "{models}/FLUX.1-Kontext-dev",
            "dtype": "bfloat16",
            "transformer_dtype": "float8",
            "flux_shift": True,
            "guidance": 1.0,
        },
        "simpletuner": {"model_family": "flux", "model_flavour": "kontext"},
    },
    references=References(
        most=1,
        template=INSTRUCTION,
        trainers={
            "ai_toolkit": {},
            "diffsynth": {"references": "kontext_images"},
            "diffusers": {},
            "diffusion_pipe": {},
            "musubi_tuner": {
                "script": "flux_kontext",
                "dit": "{models}/flux1-kontext-dev.safetensors",
                "vae": "{models}/ae.safetensors",
                "encoders": {
                    "text_encoder1": "{models}/t5xxl_fp16.safetensors",
                    "text_encoder2": "{models}/clip_l.safetensors",
                },
                "network": "networks.lora_flux",
                "sampling": {"timestep_sampling": "flux_shift"},
            },
            "simpletuner": {},
        },
    ),
)
