"""HunyuanImage 2.1: text is read by Qwen2.5-VL; its autoencoder compresses 32 times."""

from pipeline.families.base import Family

FAMILY = Family(
    model="hunyuanvideo-community/HunyuanImage-2.1-Diffusers",
    encoder="Qwen2.5-VL",
    limit=1000,
    template=1,
    tokenizer="hunyuanvideo-community/HunyuanImage-2.1-Diffusers/tokenizer",
    source="hunyuan_image/pipeline_hunyuanimage.py",
    token=32,
)
