"""Qwen-Image-2.1: 7 billion parameters, text and up to ten reference images are read by Qwen3-VL."""

from pipeline.families.base import INSTRUCTION, Family, References

FAMILY = Family(
    model="Qwen/Qwen-Image-2.1",
    encoder="Qwen3-VL",
    # The pipeline truncates nothing; the transformer has places for so many tokens (QwenImage21Rope).
    limit=8192,
    template=8,
    tokenizer="Qwen/Qwen-Image-2.1/processor",
    source="qwenimage21/pipeline_qwenimage21.py",
    licence="qwen-research",
    token=32,  # two by two tokens of 16 pixels: so many stand in one place of the sequence that the encoder reads
    recipe={"guidance": 1.0, "sample_steps": 40},
    trainers={
        "diffsynth": {
            "example": "qwen_image_21",
            "weights": [
                "Qwen/Qwen-Image-2.1:transformer/diffusion_pytorch_model*.safetensors",
                "Qwen/Qwen-Image-2.1:text_encoder/model*.safetensors",
                "Qwen/Qwen-Image-2.1:vae/diffusion_pytorch_model.safetensors",
            ],
            "layers": "to_q,to_k,to_v,to_out.0,img_mlp.proj,img_mlp.gate_layer,img_mlp.out",
        },
        "simpletuner": {"model_family": "qwen_image", "model_flavour": "v2.1"},  # since its version 4.9.3
    },
    references=References(most=10, template=INSTRUCTION, trainers={"diffsynth": {}}),
)
