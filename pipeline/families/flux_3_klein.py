"""FLUX.3 [klein]: 6 billion parameters, text is read by Qwen3-VL, whose window grows with the text."""

from pipeline.families.base import Family

FAMILY = Family(
    model="black-forest-labs/flux-3-image-klein",
    encoder="Qwen3-VL",
    limit=8192,
    template=8,
    tokenizer="black-forest-labs/flux-3-image-klein/tokenizer",
    source="../modular_pipelines/flux3/encoders.py",
)
