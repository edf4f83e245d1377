"""Review: tables out and in, and the page."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import iclora
from iclora import console
from iclora.cli import endings
from iclora.cli.options import Out, Reviewer, TaskName
from pipeline.errors import BadInput
from pipeline.wording import counted

if TYPE_CHECKING:
    from iclora.run import Run


def review(  # noqa: PLR0913, PLR0917  (one argument per option)
    task: TaskName,
    out: Out = None,
    reviewer: Reviewer = None,
    apply: Annotated[Path | None, typer.Option("--apply", help="An edited captions.csv to apply.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --apply or --learn: print what would change, and change nothing.")
    ] = False,
    serve: Annotated[bool, typer.Option("--serve", help="Review in a browser on this machine, until Ctrl-C.")] = False,
    learn: Annotated[
        bool, typer.Option("--learn", help="From now on, let your decisions teach the rule of what belongs together.")
    ] = False,
) -> None:
    """Review captions in a table or in a browser.

    Without options, writes captions.csv and review.html. After --apply, --serve and --learn the data set is written
    anew.
    """
    if dry_run and apply is None and not learn:
        raise BadInput(
            "--dry-run shows what a table would change; name the table with --apply captions.csv, or give --learn."
        )
    wanted = [word for word, yes in ((f"--apply {apply}", apply), ("--serve", serve), ("--learn", learn)) if yes]
    if len(wanted) > 1:
        raise BadInput(f"{wanted[0]} and {wanted[1]} are two ways to review; use one after the other.")
    if reviewer is not None and not (serve or apply):
        raise BadInput(f"--as {reviewer} says who decides; give it with --serve or --apply.")
    with iclora.open_run(task, folder=out, must_exist=True) as run, endings.logged_in(run.folder):
        if serve:
            _serve(run, reviewer)
        elif learn:
            _learn(run, dry_run=dry_run)
        elif apply is None:
            with console.progress():
                run.write_review()
                console.review_ways(run)
        elif dry_run:
            with console.progress():
                changes = run.edits(apply, reviewer)
            console.diff(changes)
            console.line(f"{counted(changes, 'row')} would change; nothing was applied.")
        else:
            _apply(run, apply, reviewer)


def _apply(run: Run, table: Path, reviewer: str | None) -> None:
    """Applies a table, runs the stages from the filter on, and prints how edited captions fared."""
    with console.progress():
        changes = run.apply(table, reviewer)
    console.diff(changes)
    write_data_set(run, f"{counted(changes, 'row')} changed; ", changes)


def _serve(run: Run, reviewer: str | None) -> None:
    """The review page until Ctrl-C, then the stages from the filter on."""
    from iclora.page import browser

    with browser.opener_of_review(run) as open_page, ExitStack() as reading:
        progress = reading.enter_context(console.progress())

        def opened(address: str) -> None:
            reading.close()
            console.line(f"Review at {address}")
            console.line("Ctrl-C ends the review and writes the data set anew.")
            open_page(address)

        changes = run.serve(opened, progress, reviewer=reviewer)
    write_data_set(run, f"{counted(changes, 'change')}; ")


def _learn(run: Run, *, dry_run: bool) -> None:
    """Prints what the decisions would teach; unless it is a dry run, the filter goes by it from now on."""
    with console.progress():
        console.learning(run)
    if dry_run:
        console.line("Nothing was changed.")
        return
    run.learn()
    write_data_set(run, "Your decisions teach the rule from now on; ")


def write_data_set(run: Run, told: str, changes: Sequence[iclora.Change] = ()) -> None:
    """Brings the data set up to date with the decisions, and prints how edited captions fared and where it is.

    Args:
        told: what has been done, as the start of a sentence.
    """
    with console.progress() as progress:
        last = run.advance(start="filter", progress=progress)[-1]
    with console.progress():
        console.judged(run, changes)
        console.exported(run, last, told)
