"""Review: tables out and in, and the page."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iclora import console
from iclora.cli.opening import Out, TaskName, open_run
from pipeline.errors import BadInput

if TYPE_CHECKING:
    from iclora.run import Run


def review(
    task: TaskName,
    out: Out = None,
    apply: Annotated[Path | None, typer.Option("--apply", help="An edited captions.csv to take over.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --apply or --learn: print what would change, no more.")
    ] = False,
    serve: Annotated[
        bool, typer.Option("--serve", help="Review in a browser on this machine; ends at Ctrl-C.")
    ] = False,
    learn: Annotated[
        bool, typer.Option("--learn", help="Let your decisions teach the rule of what belongs together, from now on.")
    ] = False,
) -> None:
    """Write captions.csv and review.html, or take an edited table over, or serve the review page, or learn from it.

    After an edited table, after the page and after learning the data set is written anew.
    """
    if dry_run and apply is None and not learn:
        raise BadInput(
            "--dry-run tells what a table would change; name the table with --apply captions.csv, or give --learn."
        )
    wanted = [word for word, yes in ((f"--apply {apply}", apply), ("--serve", serve), ("--learn", learn)) if yes]
    if len(wanted) > 1:
        raise BadInput(f"{wanted[0]} and {wanted[1]} are two ways to review; give one after the other.")
    with open_run(task, out) as run:
        if serve:
            _serve(run)
        elif learn:
            _learn(run, dry_run=dry_run)
        elif apply is None:
            run.write_review()
            console.set_aside(run)
            console.console.print(
                f"Look at {run.folder / 'review.html'}, edit {run.folder / 'captions.csv'}, then type"
            )
            console.console.print(f"  {run.command_to_apply}")
            console.console.print(f"or review in a browser: {run.command('review', '--serve')}")
        elif dry_run:
            changes = run.edits(apply)
            console.diff(changes)
            console.console.print(f"{len(changes)} rows would change; nothing was applied.")
        else:
            _take_over(run, apply)


def _take_over(run: Run, table: Path) -> None:
    """Applies a table, has the line run on from where texts are scored, and tells what came of edited captions."""
    from pipeline.review import reviews

    changes = run.apply(table)
    console.diff(changes)
    with console.progress() as progress:
        marks = [mark for mark, _ in run.run(progress, first="filter")]
    edited = {
        change.review.grid for change in changes if {"caption", "people"} & {name for name, _, _ in change.fields}
    }
    for row in reviews.rows(run.store, run.task, run.counter):
        if row.id in edited:
            scores = [f"{score.name} {score.value:.3f}" for score in row.scores]
            word = f"{row.decision} by your word" if row.decided else row.decision
            console.console.print(
                f"{row.id} is now {word}: {', '.join((*scores, *row.reasons)) or 'not scored'}", markup=False
            )
    console.set_aside(run)
    console.console.print(f"{len(changes)} rows changed; {marks[-1].kept} grids in {run.folder / 'dataset'}")


def _serve(run: Run) -> None:
    """The review page until Ctrl-C, then the line to its end."""
    import webbrowser

    from iclora.page.app import serve

    def opened(address: str) -> None:
        console.console.print(f"Review at {address}", markup=False)
        console.console.print("Ctrl-C ends it and writes the data set anew.")
        # Elsewhere `webbrowser` would start a text browser in this very terminal.
        if sys.platform in ("win32", "darwin") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
            webbrowser.open(address)

    changes = serve(run, opened)
    with console.progress() as progress:
        marks = [mark for mark, _ in run.run(progress, first="filter")]
    console.set_aside(run)
    console.console.print(f"{changes} changes; {marks[-1].kept} grids in {run.folder / 'dataset'}")


def _learn(run: Run, *, dry_run: bool) -> None:
    """Tells what the decisions would teach, and unless it is a dry run has the line go by it from the filter on."""
    from pipeline.consistency import teaching

    console.lines(teaching.lines(run.lesson(), run.task.markers))
    if dry_run:
        console.console.print("Nothing was changed.")
        return
    run.learn()
    with console.progress() as progress:
        marks = [mark for mark, _ in run.run(progress, first="filter")]
    console.set_aside(run)
    console.console.print(
        f"Your decisions teach the rule from now on; {marks[-1].kept} grids in {run.folder / 'dataset'}"
    )
