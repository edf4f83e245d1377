"""The `iclora` command: only it exits, and only `console` prints. Heavy packages are imported inside the commands."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any, TextIO

import typer
from typer.core import TyperGroup

from iclora.cli import about, dataset, replace, review, training
from iclora.cli.interrupts import Interruptible
from pipeline.errors import BrokenPlugin, EmptyResult, ToolkitError

STOPPED = {"generate": "stopped; nothing was written, and the same command starts again."}
"""By command, what Ctrl-C says; the others resume."""


class Commands(TyperGroup):
    """The commands, with an end of their own after Ctrl-C: typer's says nothing."""

    def invoke(self, ctx: Any) -> Any:
        with Interruptible(
            lambda: STOPPED.get(str(ctx.invoked_subcommand), "stopped; the same command resumes from here.")
        ):
            return super().invoke(ctx)


app = typer.Typer(
    cls=Commands,
    help="Turn related images into a reviewed data set, an In-Context LoRA, and new image sets.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


STAGES = {
    "collect": "Find films and images, and take the sharpest frame of every shot.",
    "inspect": "Decode every image once and measure it: size, sharpness, hash, colours; reject what can't be used.",
    "group": "Form groups of related images.",
    "compose": "Lay each group out as one grid.",
    "caption": "Write one joint caption per grid.",
    "filter": "Score captions against images, and reject what doesn't belong together.",
    "export": "Write the kept grids as a data set.",
}
app.command("dataset", help="Run all stages, from sources to a data set; an interrupted run resumes.")(
    dataset.stage_command("export")
)
for _name, _help in STAGES.items():
    app.command(_name, help=f"{_help} Earlier stages are brought up to date first.")(dataset.command_to(_name))
for _command in (
    review.review,
    replace.replace,
    about.show,
    training.train,
    training.generate,
    about.pack,
    about.push,
    about.tasks,
    about.doctor,
):
    app.command()(_command)


_show_usual = warnings.showwarning


def _show(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Prints a warning about a plug-in without the line of code that it comes from, others as usual."""
    if issubclass(category, BrokenPlugin):
        print(f"warning: {message}", file=sys.stderr)
    else:
        _show_usual(message, category, filename, lineno, file, line)


def main() -> None:
    """Runs the command; what the user can fix ends as one sentence and exit code 2, an empty result with 1."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's waiting threads would take the cores from the others
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("once", BrokenPlugin)
            warnings.showwarning = _show
            app()
    except ToolkitError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1 if isinstance(error, EmptyResult) else 2) from None
    except OSError as error:  # a full disk, a folder without write access, a table that another program holds
        print(f"error: {error.filename or 'a file'} can't be used: {error.strerror or error}.", file=sys.stderr)
        raise SystemExit(2) from None
