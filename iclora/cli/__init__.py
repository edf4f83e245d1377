"""The `iclora` command: only it exits, and only `console` prints. Heavy packages are imported inside the commands."""

from __future__ import annotations

import io
import os
import sys
import warnings
from typing import cast

import typer

from iclora import console
from iclora.cli import about, dataset, review, training
from pipeline.errors import BrokenPlugin, ToolkitError

app = typer.Typer(
    help="Turn related images into a reviewed data set, an In-Context LoRA, and new image sets.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,  # names of plug-ins and tasks, which may come from other packages, are not markup
)
UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[1])
"""Of click, or of typer's own copy of it: a command line that can't be read."""
INTERRUPTED = 130
"""The exit code after Ctrl-C, here and as typer has it."""


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
    dataset.command_to("export")
)
for _name, _help in STAGES.items():
    app.command(_name, help=f"{_help} Earlier stages are brought up to date first.")(dataset.command_to(_name))
for _command in (review.review, about.show, training.train, training.generate, about.push, about.tasks, about.doctor):
    app.command()(_command)


def main() -> None:
    """Runs the command; what the user can fix ends as one sentence and exit code 2."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's waiting threads would take the cores from the others
    console.prepare()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("once", BrokenPlugin)
            warnings.showwarning = console.warn
            code = app(
                prog_name="iclora", standalone_mode=False
            )  # typer itself would print what comes from outside as it is
    except UsageError as error:
        said = io.StringIO()
        error.show(file=said)
        console.refusal(said.getvalue())
        raise SystemExit(error.exit_code) from None
    except ToolkitError as error:
        console.error(str(error))
        raise SystemExit(2) from None
    except OSError as error:  # a full disk, a folder without write access, a table that another program holds
        from iclora import machine

        console.error(machine.unusable(error))
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        code = INTERRUPTED
    if code == INTERRUPTED:
        print("stopped; the same command resumes.", file=sys.stderr)
    if code:
        raise SystemExit(code)
