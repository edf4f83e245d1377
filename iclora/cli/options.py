"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

TaskName = Annotated[str, typer.Argument(help="A task's name (see `iclora tasks`) or the path of a task file.")]
Sources = Annotated[
    list[Path] | None,
    typer.Option(
        "--source", help="Film, image, folder or ZIP archive; repeatable. Replaces the run's earlier sources."
    ),
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of the run; runs/TASK by default.")]
CaptionerName = Annotated[
    str | None,
    typer.Option(
        "--captioner",
        help="local (the default), server, sidecar or scripted. A change drops earlier captioner.* settings.",
    ),
]
ScorerName = Annotated[
    str | None,
    typer.Option("--scorer", help="open_clip (the default) or none. A change drops earlier scorer.* settings."),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="KEY=VALUE in place of the task file's (group.window=8); repeatable. The run keeps it."),
]
Unset = Annotated[
    list[str] | None,
    typer.Option("--unset", help="KEY whose --set is taken back; also source, captioner, scorer. Repeatable."),
]
SetHere = Annotated[
    list[str] | None,
    typer.Option("--set", help="KEY=VALUE for this training only (train.steps=2000); repeatable."),
]
