"""Lets people compare what an evaluation has drawn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from iclora.evaluation import report
from iclora.evaluation.people import Marking, Preference, preference, read_pairs, usual_pair
from iclora.run import Run
from pipeline.plugins import extras
from pipeline.progress import LOG


class Comparison:
    """Two candidates of an evaluation, marked by one person.

    Args:
        folder: the evaluation's.
        between: as the evaluation names them; by default the chosen LoRA, or the best, and the base.
        by: who marks, where several people do.
    """

    def __init__(self, folder: Path, between: tuple[str, str] | None = None, by: str = "") -> None:
        self.folder, self._between, self._by = folder, between, by

    def read(self) -> Marking:
        """The pairs as they are now, and this person's marks.

        Raises:
            BadInput: there is no evaluation, or it has no such candidate.
        """
        return Marking(self.folder, read_pairs(self.folder, *self._names()), self._by)

    def result(self) -> Preference:
        """What all who have marked these pairs prefer; the report gets it too.

        Raises:
            BadInput: as for `read`.
        """
        report.add_people(self.folder)
        return preference(self.folder, *self._names())

    def _names(self) -> tuple[str, str]:
        return self._between or usual_pair(self.folder)


def compare(
    run: Run, opened: Callable[[str], None], *, between: tuple[str, str] | None = None, by: str = ""
) -> Preference:
    """Serves a page on which a person marks which of two pictures is better, until Ctrl-C.

    The pictures are those of the run's last evaluation, two of the same prompt and noise side by side. Which is which
    is hidden, sides and order are drawn by lot. Every mark is on disk at once, and whoever comes back goes on.

    Args:
        run: that has been evaluated.
        opened: called with the page's address once it is served.
        between, by: as for `Comparison`.

    Returns:
        What all who have marked these pairs prefer.

    Raises:
        BadInput: there is no evaluation, it has no such candidate, or a package that the page needs is not installed.
    """
    extras.require("the page", "page")
    from iclora.page import comparing
    from iclora.page.server import serve_page

    comparison = Comparison(run.evaluation, between, by)
    LOG.info("reading the pictures in %s", comparison.folder)
    comparison.read()  # what can't be compared is told before a page is served
    serve_page(partial(comparing.make, comparison), opened)
    return comparison.result()
