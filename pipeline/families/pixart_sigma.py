"""PixArt-Sigma: text is read by T5."""

from pipeline.families.base import Family

FAMILY = Family(
    model="PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",
    encoder="T5",
    limit=300,
    template=1,
    tokenizer="PixArt-alpha/PixArt-Sigma-XL-2-1024-MS/tokenizer",
    source="pixart_alpha/pipeline_pixart_sigma.py",
    licence="openrail++",
    trainers={
        "onetrainer": {"model_type": "PIXART_SIGMA"},
    },
)
