"""The `iclora` command: only it exits, and only `console` prints. Heavy packages are imported inside the commands."""

from __future__ import annotations

import io
import os
import warnings
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup

from iclora import console
from iclora.cli import about, dataset, endings, parts, replace, review, training
from iclora.cli.interrupts import Interruptible
from pipeline.errors import BrokenPlugin, ToolkitError

STOPPED = {"generate": "stopped; nothing was written, and the same command starts again."}
"""By command, what Ctrl-C says; the others resume."""


class Commands(TyperGroup):
    """The commands, with an end of their own after Ctrl-C: typer's says nothing."""

    def invoke(self, ctx: Any) -> Any:
        def stopped() -> str:
            console.stopped(endings.STOPPED)
            return STOPPED.get(str(ctx.invoked_subcommand), "stopped; the same command resumes from here.")

        with Interruptible(stopped):
            return super().invoke(ctx)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,  # names of plug-ins and tasks, which may come from other packages, are not markup
)


def _print_version(asked: bool) -> None:
    if asked:
        console.version()
        raise typer.Exit


@app.callback()
def iclora(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Turn related images into a reviewed data set, an In-Context LoRA, and new image sets."""


UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[1])
"""Of click, or of typer's own copy of it: a command line that can't be read."""


STAGES = {
    "collect": "Find films and images, and take one good frame of every shot.",
    "inspect": "Decode and measure every image, and reject what can't be used.",
    "group": "Form groups of related images.",
    "compose": "Lay each group out as one grid.",
    "caption": "Write one joint caption per grid.",
    "filter": "Score captions against images, and reject what doesn't belong.",
    "export": "Write the kept grids as a data set.",
}
app.command("dataset", help="Run all stages, from sources to a data set. An interrupted run resumes.")(
    endings.logged(dataset.stage_command("export"))
)
for _name, _help in STAGES.items():
    app.command(_name, help=f"{_help} Earlier stages are brought up to date first.")(
        endings.logged(dataset.command_to(_name))
    )
for _command in (
    endings.voiced(review.review),
    endings.voiced(replace.replace),
    endings.voiced(about.show),
    endings.logged(training.train),
    training.watch,
    endings.logged(training.generate),
    endings.logged(training.evaluate),
    endings.voiced(training.compare),
    endings.voiced(training.handover),
    endings.voiced(parts.shard),
    endings.logged(parts.merge),
    endings.voiced(about.pack),
    endings.voiced(about.push),
    endings.voiced(about.survey),
    about.tasks,
    endings.voiced(about.doctor),
):
    app.command()(_command)


def main() -> None:
    """Runs the command; what the user can fix ends as one sentence and exit code 2, an empty result with 1."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's waiting threads would take the cores from the others
    console.prepare()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("once", BrokenPlugin)
            warnings.showwarning = console.warn
            # By itself, typer would print what comes from outside as it is.
            code = app(prog_name="iclora", standalone_mode=False)
    except UsageError as error:
        said = io.StringIO()
        error.show(file=said)
        console.refusal(said.getvalue())
        if "unexpected extra argument" in error.message:
            console.refusal("A path with spaces in it takes quotes, such as 'my films'.")
        raise SystemExit(error.exit_code) from None
    except ToolkitError as error:
        console.error(str(error))
        raise SystemExit(endings.exit_code(error)) from None
    except OSError as error:  # a full disk, a folder without write access, a table that another program holds
        from iclora import machine

        console.error(machine.unusable(error))
        raise SystemExit(endings.REFUSED) from None
    raise SystemExit(code or endings.DONE)
