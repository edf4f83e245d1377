"""Sana 1.6B: text is read by Gemma 2; its autoencoder compresses 32 times."""

from pipeline.families.base import Family

FAMILY = Family(
    model="Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers",
    encoder="Gemma",
    limit=300,
    template=2,
    tokenizer="Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers/tokenizer",
    source="sana/pipeline_sana.py",
    token=32,
    trainers={
        "diffusers": {"square": "train_dreambooth_lora_sana.py"},
        "onetrainer": {"model_type": "SANA"},
        "simpletuner": {"model_family": "sana", "model_flavour": "sana1.0-1.6b-1024"},
    },
)
