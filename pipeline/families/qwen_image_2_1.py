"""Qwen-Image-2.1: 7 billion parameters, text and up to ten reference images are read by Qwen3-VL."""

from pipeline.families.base import Family

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
)
