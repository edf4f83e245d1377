"""Anima: 2 billion parameters, for anime. Qwen3 reads the text, and the text's T5 tokens say what is made of it; both
are truncated at the limit, and T5's are more."""

from pipeline.families.base import Family

FAMILY = Family(
    model="circlestone-labs/Anima-Base-v1.0-Diffusers",
    encoder="T5",
    limit=512,
    template=1,
    tokenizer="circlestone-labs/Anima-Base-v1.0-Diffusers/t5_tokenizer",
    source="../modular_pipelines/anima/encoders.py",
    licence="circlestone-labs-non-commercial-license",
    trainers={
        "ai_toolkit": {"arch": "anima"},
        "onetrainer": {"model_type": "ANIMA"},
        "simpletuner": {"model_family": "anima", "model_flavour": "base-v1.0"},
    },
)
