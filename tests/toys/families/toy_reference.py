"""What is known of the made-up family of training/backends' toy_reference."""

from pipeline.families.base import Family

FAMILY = Family(
    model="nobody/toy-reference",
    encoder="letters",
    limit=256,
    template=1,
    tokenizer="nobody/toy-reference/tokenizer",
    source="",
    token=16,
)
