"""Looking at a run and at the toolkit; sending a data set to the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import iclora
from iclora import console
from iclora.cli import endings
from iclora.cli.options import Out, TaskName


def show(
    task: TaskName,
    table: Annotated[
        str | None, typer.Argument(help="A table of the run, or `settings`; all are listed if left out.")
    ] = None,
    out: Out = None,
    as_json: Annotated[bool, typer.Option("--json", help="Whole rows as JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Whole rows as CSV.")] = False,
) -> None:
    """Print a table of a run, or its settings and their origins."""
    with iclora.open_run(task, folder=out, must_exist=True) as run:
        if table is None:
            console.counts(run.counts())
            return
        with console.progress(before_data=True):
            rows = run.table(table)
        console.table(table, rows, "json" if as_json else "csv" if as_csv else "text")


def pack(
    task: TaskName,
    out: Out = None,
    to: Annotated[
        Path | None, typer.Option("--to", help="The archive; TASK.tar in the run's folder by default.")
    ] = None,
    service: Annotated[
        str | None,
        typer.Option("--for", help="A service that trains, civitai or fal: a ZIP file as it wants it, TASK-NAME.zip."),
    ] = None,
) -> None:
    """Pack a run's data set for another machine, or for a service.

    One tar file has data, configs, TRAINERS.md and checksums.
    """
    with iclora.open_run(task, folder=out, must_exist=True) as run, endings.logged_in(run.folder):
        with console.progress() as progress:
            archive = run.pack(to, service, progress)
        console.packed(archive, run, service)


def push(
    task: TaskName,
    repo: Annotated[str, typer.Argument(help="Where to on the Hugging Face hub: ORG/NAME.")],
    out: Out = None,
    public: Annotated[bool, typer.Option("--public", help="Visible to everybody; private by default.")] = False,
    lora: Annotated[bool, typer.Option("--lora", help="The LoRA's hand-over in place of the data set.")] = False,
) -> None:
    """Send a run's data set or LoRA to the Hugging Face hub.

    HF_TOKEN must hold a token with write access.
    """
    with iclora.open_run(task, folder=out, must_exist=not lora) as run, endings.logged_in(run.folder):
        with console.progress():
            address = iclora.push_lora(run, repo, public=public) if lora else run.push(repo, public=public)
        console.line(f"{'public' if public else 'private'}: {address}")


def survey(
    sources: Annotated[list[Path], typer.Argument(help="Films, images, tables, folders, or ZIP or tar archives.")],
    page: Annotated[Path, typer.Option("--page", help="The page with thumbnails that is written.")] = Path(
        "survey.html"
    ),
) -> None:
    """Tell what is in some sources, and which tasks would fit.

    Says how many groups each task would form, and shows some on a page.
    """
    with console.progress() as progress:
        found = iclora.survey(sources, progress=progress)
    console.lines(found.lines())
    console.line(f"page: {found.write(page)}")


def tasks() -> None:
    """List the tasks, including those of installed packages."""
    console.tasks(iclora.list_tasks())


def doctor(as_json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False) -> None:
    """Report what this machine has, and what it is ready for."""
    with console.progress(before_data=True):  # PyTorch alone may take half a minute to load
        found = iclora.doctor()
    console.machine(found, as_json=as_json)
