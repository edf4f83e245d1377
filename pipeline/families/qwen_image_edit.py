"""Qwen-Image-Edit: Qwen-Image with up to three reference images, which Qwen2.5-VL sees beside the text."""

from pipeline.families.base import Family

FAMILY = Family(
    model="Qwen/Qwen-Image-Edit-2511",
    encoder="Qwen2.5-VL",
    # Its pipeline names 1,024 tokens as the most, but truncates nothing: reference images stand before the caption.
    limit=1024,
    template=5,
    tokenizer="Qwen/Qwen-Image-Edit-2511/tokenizer",
    source="qwenimage/pipeline_qwenimage_edit_plus.py",
    licence="apache-2.0",
    recipe={"guidance": 4.0, "sample_steps": 40},
    # ai-toolkit and SimpleTuner refuse to train it without reference images, and the others have no script for it.
)
