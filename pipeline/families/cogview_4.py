"""CogView4: 6 billion parameters, text is read by GLM-4."""

from pipeline.families.base import Family

FAMILY = Family(
    model="THUDM/CogView4-6B",
    encoder="GLM",
    limit=1024,
    template=2,
    tokenizer="THUDM/CogView4-6B/tokenizer",
    source="cogview4/pipeline_cogview4.py",
)
