"""Ovis-Image: 7 billion parameters, text is read by Ovis (Qwen3)."""

from pipeline.families.base import Family

FAMILY = Family(
    model="AIDC-AI/Ovis-Image-7B",
    encoder="Qwen3",
    limit=256,
    template=9,
    tokenizer="AIDC-AI/Ovis-Image-7B/tokenizer",
    source="ovis_image/pipeline_ovis_image.py",
)
