"""Options that many commands share, and the run that they open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline import plugins
from pipeline.errors import BadInput

if TYPE_CHECKING:
    from iclora.run import Run, Settings


def _listed(kind: plugins.Kind) -> str:
    return f"{', '.join(plugins.names(kind))}, or the path of a {kind.suffix} file."


TaskName = Annotated[str, typer.Argument(help="Name of a task (see `iclora tasks`) or path of a task file.")]
Sources = Annotated[list[Path] | None, typer.Option("--source", help="Film, picture or folder; may be repeated.")]
Out = Annotated[Path | None, typer.Option("--out", help="The run's folder; runs/TASK without it.")]
CaptionerName = Annotated[str | None, typer.Option("--captioner", help=_listed(plugins.CAPTIONERS))]
ScorerName = Annotated[str | None, typer.Option("--scorer", help=_listed(plugins.SCORERS))]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="key=value over the task file (group.window=8); may be repeated.")
]


@contextmanager
def open_run(task: str, out: Path | None, asked: dict[str, Any] | None = None) -> Iterator[Run]:
    """The run as this command asks for it; what it leaves unsaid is as the run was last asked for.

    A new source is a new beginning: with it nothing of the earlier settings holds.

    Args:
        asked: settings by name, None where the command line does not say; without it the run must exist.
    """
    from iclora.run import Run

    folder = folder_of(task, out, must_exist=asked is None)
    run = Run(settings_of(task, folder, asked or {}), folder)
    with run.store:
        yield run


def asked_for(
    source: list[Path] | None, captioner: str | None, scorer: str | None, overrides: list[str] | None
) -> dict[str, Any]:
    """A command's options as settings by name; None where the command line does not say."""
    return {
        "sources": tuple(str(path.resolve()) for path in source) if source else None,
        "captioner": captioner and plugins.absolute(plugins.CAPTIONERS, captioner),
        "scorer": scorer and plugins.absolute(plugins.SCORERS, scorer),
        "overrides": tuple(overrides) if overrides else None,
    }


def settings_of(task: str, folder: Path, asked: dict[str, Any]) -> Settings:
    """What the command line says, and for the rest what the run in the folder, where there is one, was last asked."""
    from iclora.run import Settings
    from pipeline.store import Store

    said = {name: value for name, value in asked.items() if value is not None}
    known: dict[str, Any] = {}
    if "sources" not in said and (folder / "run.db").exists():
        with Store(folder) as store:
            known = store.settings() or {}
    return Settings.model_validate(known | said | {"task": task})


def folder_of(task: str, out: Path | None, *, must_exist: bool = False) -> Path:
    from pipeline.store import usual_folder

    folder = out or usual_folder(task)
    if must_exist and not (folder / "run.db").exists():
        raise BadInput(f"there is no run in {folder}; make one with 'iclora dataset {task}' or name it with --out.")
    return folder
