"""From related images to a reviewed In-Context LoRA data set.

The line, which every part of the toolkit follows:

    source image -> Record -> Group -> Grid -> Caption -> Scores -> reviewed Row -> TrainingSample -> Latent -> LoRA -> generated panels
      collect        inspect   group    compose  caption    filter    review/export   dataset           encode    train   generate/evaluate

Imports point towards `records.py`; the stages import the kernel (the files beside this one) and never each other;
only `cli.py` knows everyone.
"""  # noqa: E501
