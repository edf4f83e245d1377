"""LongCat-Image: 6 billion parameters, text is read by Qwen2.5-VL, quoted words letter by letter."""

from pipeline.families.base import Family

FAMILY = Family(
    model="meituan-longcat/LongCat-Image",
    encoder="Qwen2.5-VL",
    limit=553,  # 512 of the caption, which the template surrounds
    template=41,
    tokenizer="meituan-longcat/LongCat-Image/tokenizer",
    source="longcat_image/pipeline_longcat_image.py",
    licence="apache-2.0",
    trainers={"simpletuner": {"model_family": "longcat_image", "model_flavour": "final"}},
)
