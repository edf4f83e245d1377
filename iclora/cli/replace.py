"""Find and replace over captions."""

from __future__ import annotations

from typing import Annotated

import typer

import iclora
from iclora import console
from iclora.cli import endings
from iclora.cli.options import Out, Reviewer, TaskName
from iclora.cli.review import write_data_set
from pipeline.errors import BadInput
from pipeline.wording import counted


def replace(  # noqa: PLR0913, PLR0917  (one argument per option)
    task: TaskName,
    old: Annotated[str | None, typer.Argument(help="Words to look for, in exactly these letters.")] = None,
    new: Annotated[str | None, typer.Argument(help='What takes their place; "" deletes them.')] = None,
    out: Out = None,
    inside_words: Annotated[bool, typer.Option("--inside-words", help="Also replace parts of longer words.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Replace; without it, the changes are only shown.")] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Take back your last replacement; captions edited since stay.")
    ] = False,
    reviewer: Reviewer = None,
) -> None:
    """Replace words in all captions.

    Shows what would change, and changes it with --yes. Whole words are replaced, in summaries, panel texts and people's
    looks; markers, prefix, opening and names stay.
    After --yes and --undo the data set is written anew.
    """
    if undo and (old is not None or yes):
        raise BadInput("--undo takes back the last replacement and takes neither words nor --yes.")
    if not undo and (old is None or new is None):
        raise BadInput('name the words to look for and what takes their place: iclora replace TASK "old" "new".')
    with iclora.open_run(task, folder=out, must_exist=True) as run, endings.logged_in(run.folder):
        if undo:
            with console.progress():
                undone = run.undo_replace(reviewer)
            console.replaced(run, undone.changes)
            console.stay(undone.stay)
            write_data_set(run, f"taken back in {counted(undone.changes, 'caption')}; ", undone.changes)
            return
        assert old is not None and new is not None
        if yes:
            with console.progress():
                changes = run.replace(old, new, inside_words=inside_words, reviewer=reviewer)
            console.replaced(run, changes)
            write_data_set(run, f"replaced in {counted(changes, 'caption')}; ", changes)
            return
        with console.progress():
            found = run.replacements(old, new, inside_words=inside_words)
        console.replaced(run, found)
        named = ["--as", reviewer] if reviewer is not None else []
        words = [*(["--inside-words"] if inside_words else []), *named, "--yes", "--", old, new]
        console.to_replace(run, words)
