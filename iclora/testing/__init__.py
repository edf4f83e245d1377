"""Contract tests of plug-ins, one function per kind, for the tests of any package that has some.

    from iclora import testing

    def test_haiku_keeps_the_contract_of_a_captioner():
        testing.check_captioner("haiku")

Each takes the plug-in as a user would give it: its name or, for tasks, grouping strategies, captioners, scorers, image
encoders, detectors and exporters, the path of its file. Containers, readers, families and backends are found by their
entry points, so the package has to be installed (`pip install -e .`). A broken rule raises an AssertionError that names
it; a plug-in that can't be found or loaded raises BadInput.
"""

from pathlib import Path

from iclora.testing.datasets import check_exporter, check_family, check_grouping, check_task
from iclora.testing.models import check_captioner, check_detector, check_image_encoder, check_scorer
from iclora.testing.sources import check_container, check_reader, write_pictures

MODELS = Path(__file__).parents[2] / "miniature"
"""Folder of the small models that the toolkit ships."""

__all__ = [
    "MODELS",
    "check_backend",
    "check_captioner",
    "check_container",
    "check_detector",
    "check_exporter",
    "check_family",
    "check_grouping",
    "check_image_encoder",
    "check_reader",
    "check_scorer",
    "check_task",
    "write_pictures",
]


def check_backend(name: str, model: Path) -> None:
    """A training backend keeps its contract; see `iclora.testing.backends`, which takes seconds to import.

    Args:
        model: folder of a small model of its family, in diffusers' layout; `MODELS / "flux"` is one of FLUX.1's.
    """
    from iclora.testing import backends

    backends.check(name, model)
