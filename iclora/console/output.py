"""Standard output and standard error: all that is printed goes through here, with hidden characters escaped."""

from __future__ import annotations

import io
import os
import sys
import time
import warnings
from collections.abc import Iterable
from typing import Literal, TextIO

from rich.console import Console

from iclora.console.underway import Lines
from pipeline.errors import BrokenPlugin
from pipeline.wording import escaped


class Output(Console):
    """Standard output. Where its reader has gone, as in `iclora dataset TASK | head`, the work is worth more than what
    is printed about it, and goes on."""

    def on_broken_pipe(self) -> None:
        discard_output()
        error("nobody reads the output any more; the work goes on.", "warning")


def discard_output() -> None:
    """Nothing that is printed from now on, or waits to be, goes anywhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


# What comes from outside (paths, captions) is never read as markup.
console = Output(soft_wrap=not sys.stdout.isatty(), highlight=False, markup=False, emoji=False)
LIST = "\n  "
"""What items of a list in an error begin with; any other line break comes from outside."""


def line(text: str) -> None:
    """One line, however long: a command in it can be copied as it stands."""
    console.print(escaped(text), soft_wrap=True)
    Lines.spoken = time.monotonic()


def aside(text: str) -> None:
    """One line on standard error, beside a result that another program may read."""
    print(escaped(text), file=sys.stderr)
    Lines.spoken = time.monotonic()


def lines(texts: Iterable[str]) -> None:
    for text in texts:
        line(text)


def text(content: str) -> None:
    """A text of several lines as it is."""
    lines(content.split("\n"))


def raw(content: str, end: str = "\n") -> None:
    """Whoever reads a table may have seen enough before its end."""
    try:
        print(content, end=end, flush=True)
    except BrokenPipeError:
        discard_output()


def columns() -> int | None:
    """Columns of the terminal; None where there is none."""
    return console.width if console.is_terminal else None


# ---- standard error


def prepare() -> None:
    """Makes what a terminal's encoding lacks appear escaped instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def error(message: str, kind: Literal["error", "warning"] = "error") -> None:
    print(f"{kind}: {LIST.join(map(escaped, message.split(LIST)))}", file=sys.stderr)


def refusal(message: str) -> None:
    """What a command line is refused with, in lines."""
    print("\n".join(map(escaped, message.rstrip("\n").split("\n"))), file=sys.stderr)


def warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """In place of `warnings.showwarning`: a plug-in that is left out without the line of code that says so."""
    if issubclass(category, BrokenPlugin):
        error(str(message), "warning")
    else:
        refusal(warnings.formatwarning(message, category, filename, lineno, line))
