"""Contract tests of plug-ins, one function per kind, for the tests of any package that has some.

    from iclora import testing

    def test_haiku_keeps_the_contract_of_a_captioner():
        testing.check_captioner("haiku")

Each takes the plug-in's name, or the path of its file, as a user would give it. A broken rule raises an AssertionError
that names it; a plug-in that can't be found or loaded raises BadInput.
"""

from iclora.testing.datasets import check_exporter, check_family, check_grouping, check_task
from iclora.testing.models import check_captioner, check_scorer
from iclora.testing.sources import check_container, check_reader, write_pictures

__all__ = [
    "check_captioner",
    "check_container",
    "check_exporter",
    "check_family",
    "check_grouping",
    "check_reader",
    "check_scorer",
    "check_task",
    "write_pictures",
]
