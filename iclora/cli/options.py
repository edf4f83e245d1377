"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import iclora

TaskName = Annotated[str, typer.Argument(help="A task's name (see `iclora tasks`) or the path of a task file.")]
Sources = Annotated[
    list[Path] | None,
    typer.Option(
        "--source",
        help="Film, image, table (CSV, JSONL, Parquet, XLSX), folder, or ZIP or tar archive; also a pattern in quotes "
        "('shards/{00..09}.tar', 'data/*.parquet'), a PDF, a text file of addresses, or "
        "hf://datasets/OWNER/NAME. Repeatable. Replaces the run's earlier sources.",
    ),
]
Against = Annotated[
    list[Path] | None,
    typer.Option(
        "--against", help="Folder of an earlier run, none of whose images is used again; repeatable. The run keeps it."
    ),
]
Reviewer = Annotated[
    str | None,
    typer.Option("--as", metavar="NAME", help="Who decides, where several people review; kept with every decision."),
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of the run; runs/TASK by default.")]


def _listed(kind: str, usual: str = "") -> str:
    names = [f"{name} (the default)" if name == usual else name for name in iclora.list_plug_ins(kind)]
    return f"{', '.join(names)}, or the path of a .py file."


DROPS = "A change drops earlier {}.* settings."
CaptionerName = Annotated[
    str | None, typer.Option("--captioner", help=f"{_listed('captioner', 'local')} {DROPS.format('captioner')}")
]
ScorerName = Annotated[
    str | None, typer.Option("--scorer", help=f"{_listed('scorer', 'open_clip')} {DROPS.format('scorer')}")
]
EngineName = Annotated[
    str | None,
    typer.Option(
        "--engine",
        help="local (the default): the stages run in this process; ray: by Ray Data on this machine or, with --set "
        f"engine.address=auto, on a cluster. {DROPS.format('engine')}",
    ),
]
VectorsName = Annotated[
    str | None,
    typer.Option("--vectors", help=f"Compares panels in place of the run's scorer: {_listed('image encoder')}"),
]
DetectorName = Annotated[
    str | None, typer.Option("--detector", help=f"Finds people and things in panels: {_listed('detector')}")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="KEY=VALUE in place of the task file's (group.window=8); repeatable. The run keeps it."),
]
Unset = Annotated[
    list[str] | None,
    typer.Option("--unset", help="KEY whose --set is taken back; also source, against, captioner, scorer."),
]
SetHere = Annotated[
    list[str] | None,
    typer.Option("--set", help="KEY=VALUE for this training only (train.steps=2000); repeatable."),
]
