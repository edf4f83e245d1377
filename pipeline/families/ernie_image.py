"""ERNIE-Image: 8 billion parameters, text is read by Ministral 3."""

from pipeline.families.base import Family

FAMILY = Family(
    model="baidu/ERNIE-Image",
    encoder="Ministral 3",
    limit=2048,  # the tokenizer's own: the pipeline truncates at its model_max_length
    template=1,
    tokenizer="baidu/ERNIE-Image/tokenizer",
    source="ernie_image/pipeline_ernie_image.py",
    licence="apache-2.0",
    trainers={
        "ai_toolkit": {"arch": "ernie_image", "quantize_te": True},
        "diffsynth": {
            "example": "ernie_image",
            "weights": [
                "PaddlePaddle/ERNIE-Image:transformer/diffusion_pytorch_model*.safetensors",
                "PaddlePaddle/ERNIE-Image:text_encoder/model.safetensors",
                "PaddlePaddle/ERNIE-Image:vae/diffusion_pytorch_model.safetensors",
            ],
            "layers": "to_q,to_k,to_v,to_out.0",
        },
        "diffusion_pipe": {
            "type": "ernie_image",
            "diffusion_model": "{models}/ernie-image.safetensors",
            "vae": "{models}/flux2-vae.safetensors",
            "text_encoders": [{"path": "{models}/ministral-3-3b.safetensors", "type": "flux2"}],
            "dtype": "bfloat16",
            "diffusion_model_dtype": "float8",
            "timestep_sample_method": "logit_normal",
            "shift": 3,
        },
        "onetrainer": {"model_type": "ERNIE"},
        "simpletuner": {"model_family": "ernie", "model_flavour": "base"},
    },
)
