"""Review: tables out and in, and the page."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline import screen
from pipeline.cli.opening import Out, TaskName, open_run
from pipeline.errors import BadInput

if TYPE_CHECKING:
    from pipeline.road import Road


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
    with open_run(task, out) as road:
        if serve:
            _serve(road)
        elif learn:
            _learn(road, dry_run=dry_run)
        elif apply is None:
            road.write_review()
            screen.set_aside(road)
            screen.console.print(
                f"Look at {road.folder / 'review.html'}, edit {road.folder / 'captions.csv'}, then type"
            )
            screen.console.print(f"  {road.command_to_apply}")
            screen.console.print(f"or review in a browser: {road.command('review', '--serve')}")
        elif dry_run:
            changes = road.edits(apply)
            screen.diff(changes)
            screen.console.print(f"{len(changes)} rows would change; nothing was applied.")
        else:
            _take_over(road, apply)


def _take_over(road: Road, table: Path) -> None:
    """Applies a table, has the line run on from where texts are scored, and tells what came of edited captions."""
    from pipeline import reviews

    changes = road.apply(table)
    screen.diff(changes)
    with screen.progress() as progress:
        marks = [mark for mark, _ in road.run(progress, first="filter")]
    edited = {
        change.review.grid for change in changes if {"caption", "people"} & {name for name, _, _ in change.fields}
    }
    for row in reviews.rows(road.store, road.task):
        if row.id in edited:
            scores = [f"{score.name} {score.value:.3f}" for score in row.scores]
            word = f"{row.decision} by your word" if row.decided else row.decision
            screen.console.print(
                f"{row.id} is now {word}: {', '.join((*scores, *row.reasons)) or 'not scored'}", markup=False
            )
    screen.set_aside(road)
    screen.console.print(f"{len(changes)} rows changed; {marks[-1].kept} grids in {road.folder / 'dataset'}")


def _serve(road: Road) -> None:
    """The review page until Ctrl-C, then the line to its end."""
    import webbrowser

    from pipeline.page.app import serve

    def opened(address: str) -> None:
        screen.console.print(f"Review at {address}", markup=False)
        screen.console.print("Ctrl-C ends it and writes the data set anew.")
        # Elsewhere `webbrowser` would start a text browser in this very terminal.
        if sys.platform in ("win32", "darwin") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
            webbrowser.open(address)

    changes = serve(road, opened)
    with screen.progress() as progress:
        marks = [mark for mark, _ in road.run(progress, first="filter")]
    screen.set_aside(road)
    screen.console.print(f"{changes} changes; {marks[-1].kept} grids in {road.folder / 'dataset'}")


def _learn(road: Road, *, dry_run: bool) -> None:
    """Tells what the decisions would teach, and unless it is a dry run has the line go by it from the filter on."""
    from pipeline.consistency import teaching

    screen.lines(teaching.lines(road.lesson(), road.task.markers))
    if dry_run:
        screen.console.print("Nothing was changed.")
        return
    road.learn()
    with screen.progress() as progress:
        marks = [mark for mark, _ in road.run(progress, first="filter")]
    screen.set_aside(road)
    screen.console.print(
        f"Your decisions teach the rule from now on; {marks[-1].kept} grids in {road.folder / 'dataset'}"
    )
