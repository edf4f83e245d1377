"""The toolkit's exceptions. The library raises them; only the command line prints them and exits.

    ToolkitError
    ├── BadInput        a file, an option or a table of the user's can't be used
    │   └── Stopped     a stage ends early; what it gave before is whole and kept
    ├── BadReply        a captioner's answer can't be parsed
    │   └── Abstained   a captioner declined to write a caption, with its reason
    ├── MissingWeights  a model's weights can't be loaded on this machine
    ├── Diverged        training can't continue: loss, gradient or weights are not finite, or the gradient is zero
    └── EmptyResult     all went well, and nothing is left

Every message is one sentence: what is wrong, which value, and what to do.
"""


class ToolkitError(Exception):
    """Base class of all errors that the toolkit raises on purpose."""


class BadInput(ToolkitError):
    """Something the user gave can't be used as it is."""


class Stopped(BadInput):
    """A stage can't go on, for a reason outside its inputs; what it yielded before is whole and is kept."""


class BadReply(ToolkitError):
    """A model answered, but not with a caption that can be parsed."""


class Abstained(BadReply):
    """A model decided that the images don't belong together; the message is its reason."""


class Diverged(ToolkitError):
    """The loss, gradient or weights in training are not finite, or the gradient is zero."""


class EmptyResult(ToolkitError):
    """Nothing that came in has passed a stage; the message counts the reasons."""


class MissingWeights(ToolkitError):
    """Model weights are not on this machine and can't be fetched."""


class BrokenPlugin(UserWarning):
    """An installed plug-in can't be used and is left out."""
