"""From a data set to a LoRA, and from a LoRA to pictures."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iclora import console
from iclora.cli.opening import Out, Overrides, TaskName, folder_of, settings_of
from pipeline.errors import BadInput, MissingWeights

if TYPE_CHECKING:
    from training.job import Job


def train(
    task: TaskName,
    out: Out = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="A data set folder; without it the one of the run.")
    ] = None,
    into: Annotated[
        Path | None, typer.Option("--into", help="Where the LoRA goes; without it 'training' in the run's folder.")
    ] = None,
    overrides: Overrides = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print what the training will see and take, and load no weights.")
    ] = False,
) -> None:
    """Train a LoRA on a data set; goes on where it stopped. Settings are those of train.* (see README)."""
    from training import checks, loop, planning
    from training.monitoring import plan_sheet
    from training.processes import Processes

    job, processes = _job(task, folder_of(task, out), data, into, overrides or []), Processes()
    if plan:
        console.lines(planning.lines(job, planning.make(job, processes.device, processes.count)))
        try:
            checks.run(job, processes.device)
        except MissingWeights as lacking:  # no fault of the plan
            console.lines([f"warning: {lacking}"])
        console.console.print(f"What the model will see: {plan_sheet.write(job)}")
        return
    checks.run(job, processes.device)
    if not processes.is_main:
        loop.train(job, processes, lambda *_: None)
        return
    console.lines(planning.lines(job, planning.make(job, processes.device, processes.count)))
    with console.progress() as progress:
        outcome = loop.train(job, processes, progress)
    console.trained(outcome, job)


def generate(  # noqa: PLR0913, PLR0917  (one argument an option)
    lora: Annotated[Path, typer.Argument(help="A LoRA file that iclora has trained.")],
    prompt: Annotated[str, typer.Argument(help="A joint caption, with the markers of the LoRA's task.")],
    given: Annotated[
        list[str] | None, typer.Option("--given", help="1=photo.png: a panel that is there already; may be repeated.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Base model; without it the one that the LoRA was trained on.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Another seed draws another grid.")] = 0,
    steps: Annotated[int, typer.Option("--steps", help="Steps from noise to picture.")] = 20,
    guidance: Annotated[float, typer.Option("--guidance", help="How strongly the prompt pulls.")] = 3.5,
    to: Annotated[
        Path | None,
        typer.Option("--to", help="The grid's file, generated.png without it; its panels get -1, -2, ... behind."),
    ] = None,
) -> None:
    """Draw one image set with a LoRA, from text alone or around given pictures."""
    from pipeline.pixels import cut, open_image
    from training import generate as drawing
    from training.processes import Processes
    from training.sampling import SamplingSettings

    pictures = {panel - 1: open_image(path) for panel, path in _files_by_panel(given or []).items()}
    generator = drawing.open_generator(lora, model, SamplingSettings(steps, guidance), Processes().device)
    files, request = _free_files(to, generator.layout.size), drawing.GenerationRequest(prompt, seed, pictures)
    console.lines(f"note: {remark}" for remark in drawing.remarks(generator, request))
    grid = drawing.draw(generator, [request])[0]
    for file, image in zip(files, (grid, *cut(grid, generator.layout)), strict=True):
        image.save(file)
    console.console.print(f"{files[0]}, and its panels in {files[1]} to {files[-1].name}", markup=False)


def _files_by_panel(given: list[str]) -> dict[int, Path]:
    files: dict[int, Path] = {}
    for text in given:
        panel, equals, path = text.partition("=")
        if not equals or not panel.isdecimal():
            raise BadInput(f"--given takes PANEL=FILE such as 1=photo.png, got '{text}'.")
        if int(panel) in files:
            raise BadInput(f"panel {int(panel)} is given twice, {files[int(panel)]} and {path}; leave one out.")
        files[int(panel)] = Path(path)
    return files


def _free_files(to: Path | None, panels: int) -> list[Path]:
    """Files for a grid and its panels. What is there already is never written over: it may be what was given.

    Raises:
        BadInput: the name is no picture's, or one of the files is there.
    """
    from PIL import Image

    from pipeline.pixels import FORMATS

    files, numbers = _files(to or Path("generated.png"), panels), itertools.count(2)
    while to is None and any(file.exists() for file in files):
        files = _files(Path(f"generated{next(numbers)}.png"), panels)
    if Image.registered_extensions().get(files[0].suffix.lower()) not in FORMATS:
        raise BadInput(f"--to {to} does not end as a picture's name does; name a file such as grid.png.")
    if there := [file for file in files if file.exists()]:
        raise BadInput(f"{there[0]} is there already and would be written over; name another file with --to.")
    files[0].parent.mkdir(parents=True, exist_ok=True)
    return files


def _files(to: Path, panels: int) -> list[Path]:
    return [to, *(to.with_name(f"{to.stem}-{panel}.png") for panel in range(1, panels + 1))]


def _job(task: str, folder: Path, data: Path | None, into: Path | None, overrides: list[str]) -> Job:
    """A training on the data set of a run, or on another folder."""
    from iclora.run import Settings, load_task
    from pipeline.cache import Cache, shared_folder
    from training import config, dataset
    from training.job import Job, find_backend

    of_run = data is None and (folder / "run.db").exists()
    settings = settings_of(task, folder, {}) if of_run else Settings(task=task)
    told = load_task(settings.model_copy(update={"overrides": (*settings.overrides, *overrides)}))
    wanted = config.load(told, miniature=of_run and settings.drawn)
    return Job(
        task=told,
        config=wanted,
        data=dataset.read(data or folder / "dataset", told),
        backend=find_backend(told.base, wanted.model, wanted.revision),
        folder=into or folder / "training",
        cache=Cache(shared_folder()),  # the same grids are trained on from many runs
    )
