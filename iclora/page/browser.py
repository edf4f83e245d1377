"""Opens the page in a browser without putting its token on a command line, which every user of a machine can read."""

from __future__ import annotations

import json
import os
import sys
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.review import contact_sheet

if TYPE_CHECKING:
    from iclora.run import Run

NAME = "open-page.html"
"""In the folder of the run or training, since some browsers are shut out of the system's folder of temporary files."""


@contextmanager
def opener(folder: Path, name: str = NAME, at_rest: str = "") -> Iterator[Callable[[str], None]]:
    """Gives a function that opens an address: through a file that redirects to it and that only its owner can read.

    A fragment with which somebody follows the file leads to a place on the page: it is added to the address behind "&".

    Args:
        folder: the file's.
        name: the file's.
        at_rest: HTML that the file holds when nothing is served; without it, there is no file then.
    """
    file = folder.resolve() / name

    def show(address: str) -> None:
        if not _has_windows():
            return
        with suppress(OSError):  # a folder that only others write: the address has been printed
            file.unlink(missing_ok=True)
            with open(file, "x", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)) as page:
                page.write(
                    "<!doctype html><title>iclora</title>"
                    f'<script>location.replace({json.dumps(address)} + location.hash.replace("#", "&"))</script>'
                    f'<noscript><meta http-equiv="refresh" content="0; url={escape(address)}"></noscript>\n'
                )
            webbrowser.open(file.as_uri())

    try:
        yield show
    finally:
        with suppress(OSError):
            file.unlink(missing_ok=True)
            if at_rest:
                file.write_text(at_rest, encoding="utf-8")


def opener_of_review(run: Run) -> AbstractContextManager[Callable[[str], None]]:
    """As `opener`, through the file to which the contact sheet's links lead, which stays when nothing is served."""
    at_rest = contact_sheet.at_rest(run.task, run.command("review", "--serve"))
    return opener(run.folder, contact_sheet.PAGE, at_rest)


def _has_windows() -> bool:
    """Whether there is a desktop; elsewhere `webbrowser` would start a text browser in the terminal."""
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
