"""From a data set to a LoRA, and from a LoRA to pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline import screen
from pipeline.cli.opening import Out, Overrides, TaskName, folder_of, settings_of
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
    from training import loop, planning
    from training.processes import Processes

    job, processes = _job(task, folder_of(task, out), data, into, overrides or []), Processes()
    if plan:
        screen.lines(planning.lines(job, planning.make(job, processes.device, processes.count)))
        try:
            planning.check(job, processes.device)
        except MissingWeights as lacking:  # no fault of the plan
            screen.lines([f"warning: {lacking}"])
        screen.console.print(f"What the model will see: {planning.write_sheet(job)}")
        return
    planning.check(job, processes.device)
    if not processes.is_main:
        loop.train(job, processes, lambda *_: None)
        return
    screen.lines(planning.lines(job, planning.make(job, processes.device, processes.count)))
    with screen.progress() as progress:
        outcome = loop.train(job, processes, progress)
    screen.trained(outcome, job)


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
    to: Annotated[Path, typer.Option("--to", help="The grid's file; its panels get -1, -2, ... behind.")] = Path(
        "generated.png"
    ),
) -> None:
    """Draw one image set with a LoRA, from text alone or around given pictures."""
    from pipeline.pixels import cut, open_image
    from training import generate as drawing
    from training.processes import Processes
    from training.sampling import Manner

    studio = drawing.open_studio(lora, model, Manner(steps, guidance), Processes().device)
    pictures = {panel - 1: open_image(path) for panel, path in map(_panel_and_file, given or [])}
    grid = drawing.draw(studio, [drawing.Wish(prompt, seed, pictures)])[0]
    files = [to, *(to.with_name(f"{to.stem}-{panel + 1}.png") for panel in range(studio.layout.size))]
    for file, image in zip(files, (grid, *cut(grid, studio.layout)), strict=True):
        image.save(file)
    screen.console.print(f"{to}, and its panels in {files[1]} to {files[-1].name}", markup=False)


def _panel_and_file(text: str) -> tuple[int, Path]:
    panel, equals, path = text.partition("=")
    if not equals or not panel.isdecimal():
        raise BadInput(f"--given takes PANEL=FILE such as 1=photo.png, got '{text}'.")
    return int(panel), Path(path)


def _job(task: str, folder: Path, data: Path | None, into: Path | None, overrides: list[str]) -> Job:
    """A training on the data set of a run, or on another folder."""
    from pipeline.cache import Cache
    from pipeline.road import Settings, load_task
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
        cache=Cache(folder / "cache"),
    )
