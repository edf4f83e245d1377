"""From a data set to a LoRA, and from a LoRA to images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import iclora
from iclora import console
from iclora.cli.options import Out, SetHere, TaskName
from pipeline.errors import BadInput


def train(
    task: TaskName,
    out: Out = None,
    data: Annotated[Path | None, typer.Option("--data", help="A data set folder in place of the run's.")] = None,
    into: Annotated[
        Path | None, typer.Option("--into", help="Where the LoRA goes; `training` in the run's folder by default.")
    ] = None,
    settings: SetHere = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print what the training will see and need, and load no weights.")
    ] = False,
) -> None:
    """Train a LoRA on a data set; an interrupted training resumes."""
    with console.progress():  # PyTorch alone may take half a minute to load
        run = iclora.open_run(task, folder=out)
        source = run if data is None else data
        training = iclora.open_training(
            source, task=task, settings=settings or (), into=into or (run.folder / "training" if data else None)
        )
    if plan:
        console.plan(training)
        return
    training.check()
    if not training.is_main:  # another process reports
        training.run()
        return
    with console.progress() as progress:
        console.lines(training.lines())
        outcome = training.run(progress)
    console.trained(outcome, training.job)


def generate(  # noqa: PLR0913, PLR0917  (one argument per option)
    lora: Annotated[Path, typer.Argument(help="A LoRA file that iclora has trained.")],
    prompt: Annotated[str, typer.Argument(help="A joint caption, with the markers of the LoRA's task.")],
    given: Annotated[
        list[str] | None, typer.Option("--given", help="1=photo.png: a panel that exists already; repeatable.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Base model; the one that the LoRA was trained on by default.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Another seed gives another grid.")] = 0,
    steps: Annotated[int, typer.Option("--steps", help="Steps from noise to image.")] = 20,
    guidance: Annotated[float, typer.Option("--guidance", help="How strongly the prompt pulls.")] = 3.5,
    to: Annotated[
        Path | None,
        typer.Option("--to", help="The grid's file, generated.png by default; its panels get -1, -2, ... appended."),
    ] = None,
) -> None:
    """Generate one image set with a LoRA, from text alone or around given images."""
    with console.progress():
        generation = iclora.open_generation(
            lora, prompt, given=_by_panel(given or []), model=model, seed=seed, steps=steps, guidance=guidance
        )
        files = generation.free_files(to)
        console.lines(f"note: {remark}" for remark in generation.remarks)
        (drawn,) = generation.run()
    drawn.save(files)
    console.line(f"{files[0]}, and its panels in {files[1]} to {files[-1].name}")


def _by_panel(given: list[str]) -> dict[int, Path]:
    files: dict[int, Path] = {}
    for text in given:
        panel, equals, path = text.partition("=")
        if not equals or not panel.isdecimal():
            raise BadInput(f"--given takes PANEL=FILE such as 1=photo.png, got '{text}'.")
        if int(panel) in files:
            raise BadInput(f"panel {int(panel)} is given twice, {files[int(panel)]} and {path}; leave one out.")
        files[int(panel)] = Path(path)
    return files
