"""AuraFlow: text is read by T5."""

from pipeline.families.base import Family

FAMILY = Family(
    model="fal/AuraFlow",
    encoder="T5",
    limit=256,
    template=1,
    tokenizer="fal/AuraFlow/tokenizer",
    source="aura_flow/pipeline_aura_flow.py",
    licence="apache-2.0",
    trainers={
        "simpletuner": {"model_family": "auraflow", "model_flavour": "v0.1"},
    },
)
