"""Many machines: runs over parts of the sources, and one run of them all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import iclora
from iclora import console
from iclora.cli import endings
from iclora.cli.options import Against, CaptionerName, Out, ScorerName, Set, Sources, TaskName
from pipeline.store import usual_folder

if TYPE_CHECKING:
    from iclora.advancing import StageResult


def shard(  # noqa: PLR0913, PLR0917  (one argument per option)
    task: TaskName,
    shards: Annotated[int, typer.Option("--shards", min=1, help="How many parts.")],
    source: Sources = None,
    against: Against = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Gets a run's folder 1, 2, ... per part; runs/TASK-parts by default.")
    ] = None,
    captioner: CaptionerName = None,
    scorer: ScorerName = None,
    settings: Set = None,
) -> None:
    """Set up runs over parts of the sources, for many machines.

    They may be a Slurm array; `merge` makes one run of them.
    """
    with console.progress():
        found = iclora.shard(
            task,
            source or (),
            shards,
            settings=settings or (),
            captioner=captioner,
            scorer=scorer,
            against=against or None,
            folder=out,
        )
    console.shards(task, found)


def merge(
    task: TaskName,
    parts: Annotated[list[Path], typer.Argument(help="The folders of all parts.")],
    out: Out = None,
) -> None:
    """Make one run of those over all parts of the sources.

    It is brought to the stage that every part has come to.
    """
    results: list[StageResult] = []

    def finished(result: StageResult) -> None:
        results.append(result)
        console.finished(result)

    with endings.logged_in(usual_folder(task) if out is None else out), console.progress() as progress:
        run = iclora.merge(task, parts, folder=out, progress=progress, on_result=finished)
    with run:
        console.summary(run, results)
