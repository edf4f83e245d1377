"""Bria FIBO: trained on long structured captions, read by SmolLM3."""

from pipeline.families.base import Family

FAMILY = Family(
    model="briaai/FIBO",
    encoder="SmolLM3",
    limit=3000,
    template=1,
    tokenizer="briaai/FIBO/tokenizer",
    source="bria_fibo/pipeline_bria_fibo.py",
)
