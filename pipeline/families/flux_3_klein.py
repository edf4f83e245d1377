"""FLUX.3 [klein]: 6 billion parameters, text is read by Qwen3-VL, whose window grows with the text; trained on is the
base model, which is not distilled."""

from pipeline.families.base import Family, References

FAMILY = Family(
    model="black-forest-labs/flux-3-image-klein-base",
    encoder="Qwen3-VL",
    limit=8192,
    template=8,
    tokenizer="black-forest-labs/flux-3-image-klein/tokenizer",
    source="../modular_pipelines/flux3/encoders.py",
    licence="flux-kommunity-license",
    recipe={"sample_steps": 50},  # with the recipe's guidance of 3.5, the base model's own
    references=References(most=10),
)
