"""FLUX.1 Fill [dev]: FLUX.1 that draws around what is given."""

from pipeline.families.base import ComfyUI, Family

FAMILY = Family(
    model="black-forest-labs/FLUX.1-Fill-dev",
    encoder="T5",
    limit=512,
    template=1,
    tokenizer="black-forest-labs/FLUX.1-Fill-dev/tokenizer_2",
    source="flux/pipeline_flux_fill.py",
    licence="flux-1-dev-non-commercial-license",
    recipe={"sample_steps": 50, "guidance": 30.0},  # the pipeline's own
    comfyui=ComfyUI(
        model="flux1-fill-dev.safetensors",
        encoders=("clip_l.safetensors", "t5xxl_fp16.safetensors"),
        encoder_type="flux",
        vae="ae.safetensors",
    ),
    trainers={"onetrainer": {"model_type": "FLUX_FILL_DEV_1", "dynamic_timestep_shifting": True}},
)
