"""Looking at a run and at the toolkit; sending a data set off."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from iclora import console
from iclora.cli.opening import Out, TaskName, folder_of


def show(
    task: TaskName,
    table: Annotated[str | None, typer.Argument(help="A table of the run; without it all are listed.")] = None,
    out: Out = None,
    as_json: Annotated[bool, typer.Option("--json", help="Whole rows as JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Rows as CSV.")] = False,
) -> None:
    """Print a table of a run."""
    import json

    from pipeline.store import Store

    folder = folder_of(task, out, must_exist=True)
    with Store(folder) as store:
        if table is None:
            for name, count in store.counts().items():
                print(f"{name:<10} {count}")
            return
        rows = store.table(table)
    if as_json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    import pandas as pd

    if table == "events" and not as_csv:
        rows = [
            row | dict(zip(("was", "becomes"), console.differing(row["was"], row["becomes"]), strict=True))
            for row in rows
        ]
    frame = pd.json_normalize(rows)
    if as_csv:
        print(frame.to_csv(index=False), end="")
    elif frame.empty:
        print(f"{table} is empty")
    else:
        print(frame.drop(columns=["histogram"], errors="ignore").map(console.short).to_string(index=False))


def push(
    task: TaskName,
    repo: Annotated[str, typer.Argument(help="Where to on the Hugging Face hub: ORG/NAME.")],
    out: Out = None,
    public: Annotated[
        bool, typer.Option("--public", help="For all to see; without it the data set is private.")
    ] = False,
) -> None:
    """Send the data set of a run to the Hugging Face hub; HF_TOKEN must hold a token that may write."""
    from pipeline.dataset import hub

    folder = folder_of(task, out, must_exist=True)
    console.console.print(f"{'public' if public else 'private'}: {hub.push(folder / 'dataset', repo, public=public)}")


def tasks() -> None:
    """List the tasks that come with the toolkit."""
    from pipeline import task

    table = Table("task", "panels", "canvas", "markers", "what it is", box=None, pad_edge=False)
    for name in task.names():
        known = task.load(name)
        layout = known.grid_layout
        width, height = layout.canvas
        table.add_row(name, f"{layout.rows} x {layout.cols}", f"{width}x{height}", " ".join(known.markers), known.title)
    Console(width=160 if not console.console.is_terminal else None, markup=False).print(table)


def doctor() -> None:
    """Tell what this machine has: versions, device, disk, and which default weights are here."""
    import shutil

    import torch
    from huggingface_hub import try_to_load_from_cache

    from captioners.local import Options as Vlm
    from iclora import run
    from pipeline import families

    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    print(f"device      {device}, {torch.get_num_threads()} threads")
    print(f"disk free   {shutil.disk_usage('.').free / 2**30:.0f} GiB")
    for name, version in run.versions().items():
        print(f"{name:<22} {version}")
    clip = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"  # where open_clip fetches its laion2b_s34b_b79k from
    for name, repo, file in (
        ("captioner", Vlm().model, "config.json"),
        ("scorer", clip, "open_clip_model.safetensors"),
        ("base", families.load("flux-1").model, "model_index.json"),
    ):
        here = isinstance(try_to_load_from_cache(repo, file), str)
        print(f"{name:<11} {repo}: {'on this machine' if here else f'not on this machine; hf download {repo}'}")
