"""What can go wrong, as a tree; only `cli.py` prints or exits.

    ToolkitError
    ├── BadInput        a file, an option or a table of the user's that can't be used
    ├── BadReply        a captioner's answer that can't be read
    │   └── Abstained   an answer that finds no caption fit, with the reason
    ├── MissingWeights  a model whose weights can't be loaded here
    └── Diverged        a training that can't go on: what it learns is no number, or nothing at all

Every message is one sentence: what, the value, the way on.
"""


class ToolkitError(Exception):
    """Base of every error that the toolkit raises on purpose."""


class BadInput(ToolkitError):
    """Something the user gave can't be used as it is."""


class BadReply(ToolkitError):
    """A model answered, but not with a caption that can be read."""


class Abstained(BadReply):
    """A model finds that the images don't belong together; the message is its reason."""


class Diverged(ToolkitError):
    """A training's loss, gradient or weights are no numbers, or its gradient is nothing."""


class MissingWeights(ToolkitError):
    """Model weights are neither on this machine nor to be fetched from it."""
