"""What is known of the made-up family of training/backends' toy_32."""

from pipeline.families.base import Family

FAMILY = Family(
    model="nobody/toy-32",
    encoder="letters",
    limit=256,
    template=1,
    tokenizer="nobody/toy-32/tokenizer",
    source="",
    token=32,
)
