"""HiDream-I1: captions are read by T5 and Llama, 128 tokens each."""

from pipeline.families.base import Family

FAMILY = Family(
    model="HiDream-ai/HiDream-I1-Full",
    encoder="T5 and Llama",
    limit=128,
    template=1,
    tokenizer="HiDream-ai/HiDream-I1-Full/tokenizer_3",
    source="hidream_image/pipeline_hidream_image.py",
    licence="mit",
    trainers={
        "ai_toolkit": {"arch": "hidream", "quantize_te": True},
        "diffusers": {"square": "train_dreambooth_lora_hidream.py"},
        "diffusion_pipe": {
            "type": "hidream",
            "diffusers_path": "{models}/HiDream-I1-Full",
            "llama3_path": "{models}/Meta-Llama-3.1-8B-Instruct",
            "llama3_4bit": True,
            "dtype": "bfloat16",
            "transformer_dtype": "float8",
        },
        "onetrainer": {
            "model_type": "HI_DREAM_FULL",
            "text_encoder_4": {"model_name": "meta-llama/Llama-3.1-8B-Instruct", "train": False},
        },
        "simpletuner": {"model_family": "hidream", "model_flavour": "full"},
    },
)
