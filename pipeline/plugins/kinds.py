"""The kinds of plug-ins."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of plug-in. Finding, loading, listing and the contract tests in `iclora.testing` all read it."""

    word: str
    """What one of them is called in messages."""
    package: str
    """Where the toolkit's own are: every file except `base` and those that begin with an underscore."""
    group: str
    """Entry-point group of other packages. The entry point's name is the plug-in's name, its value the module; for a
    task, the package that holds `NAME.toml`."""
    requires: tuple[str, ...] = ()
    """What the module must define."""
    provides: tuple[str, ...] = ()
    """What the object that its `make(options)` returns must have."""
    suffix: str = ".py"
    by_path: bool = True
    """Whether one may be given as the path of its file. Those that nobody names are found by their entry points."""


TASKS = Kind("task", "pipeline.tasks", "iclora.tasks", suffix=".toml")
CONTAINERS = Kind(
    "container",
    "pipeline.sources.containers",
    "iclora.sources",
    ("PRIORITY", "claims", "items", "beside"),
    by_path=False,
)
READERS = Kind("reader", "pipeline.sources.readers", "iclora.readers", ("PRIORITY", "claims", "read"), by_path=False)
GROUPING = Kind("grouping strategy", "pipeline.grouping.strategies", "iclora.grouping", ("COPIES", "form"))
CAPTIONERS = Kind(
    "captioner", "captioners", "iclora.captioners", ("Options", "make"), ("batch", "verbatim", "identity", "ask")
)
SCORERS = Kind(
    "scorer",
    "pipeline.consistency.scorers",
    "iclora.scorers",
    ("Options", "make"),
    ("identity", "image_vectors", "text_vectors"),
)
IMAGE_ENCODERS = Kind(
    "image encoder",
    "training.evaluation.image_encoders",
    "iclora.image_encoders",
    ("Options", "make"),
    ("identity", "image_vectors"),
)
DETECTORS = Kind(
    "detector", "training.evaluation.detectors", "iclora.detectors", ("Options", "make"), ("identity", "detect")
)
EXPORTERS = Kind("exporter", "pipeline.exporters", "iclora.exporters", ("write",))
FAMILIES = Kind("model family", "pipeline.families", "iclora.families", ("FAMILY",), by_path=False)
BACKENDS = Kind("training backend", "training.backends", "iclora.backends", ("make",), by_path=False)
ENGINES = Kind("engine", "pipeline.engines", "iclora.engines", ("Options", "make"), by_path=False)
"""Not among KINDS: no other package is asked to have one."""
KINDS = (
    TASKS,
    CONTAINERS,
    READERS,
    GROUPING,
    CAPTIONERS,
    SCORERS,
    EXPORTERS,
    FAMILIES,
    BACKENDS,
    IMAGE_ENCODERS,
    DETECTORS,
)
