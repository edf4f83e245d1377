"""Lets people compare what an evaluation has drawn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from iclora.evaluation import report
from iclora.evaluation.people import Marking, Preference, preference, read_pairs, usual_pair
from iclora.evaluation.results import FOLDER
from iclora.run import Run
from pipeline.plugins import extras
from pipeline.progress import LOG


def compare(
    run: Run, opened: Callable[[str], None], *, between: tuple[str, str] | None = None, by: str = ""
) -> Preference:
    """Serves a page on which a person marks which of two pictures is better, until Ctrl-C.

    The pictures are those of the run's last evaluation, two of the same prompt and noise side by side. Which is which
    is hidden, sides and order are drawn by lot. Every mark is on disk at once, and whoever comes back goes on.

    Args:
        run: that has been evaluated.
        opened: called with the page's address once it is served.
        between: two candidates, as the evaluation names them; by default the chosen LoRA, or the best, and the base.
        by: who marks, where several people do.

    Returns:
        What all who have marked these pairs prefer.

    Raises:
        BadInput: there is no evaluation, it has no such candidate, or a package that the page needs is not installed.
    """
    extras.require("the page", "page")
    from iclora.page import comparing
    from iclora.page.server import serve_page

    folder = run.folder / FOLDER
    LOG.info("reading the pictures in %s", folder)
    one, other = between or usual_pair(folder)
    pairs = read_pairs(folder, one, other)
    marking = Marking(folder, pairs, by)
    serve_page(partial(comparing.make, marking), opened)
    report.add_people(folder)
    return preference(folder, one, other)
