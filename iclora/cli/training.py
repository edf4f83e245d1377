"""From a data set to a LoRA, and from a LoRA to images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

import iclora
from iclora import console
from iclora.cli import endings
from iclora.cli.options import DetectorName, Out, SetHere, TaskName, VectorsName
from iclora.prompts import Prompt, read
from pipeline.errors import BadInput

EXAMPLES = {"--panel": '"a cat sits on a wall"', "--given": "photo.png"}

Prompts = Annotated[
    Path | None,
    typer.Option(
        "--prompts",
        help="A table of prompts, CSV or .jsonl: prompt, or summary and panel 1, panel 2, ...; seed; given 1, ...; "
        "reference 1, ...",
    ),
]
HeldOutPrompts = Annotated[
    Path | None, typer.Option("--prompts", help="A table of prompts; the held-out captions by default.")
]
Weights = Annotated[
    iclora.BaseWeights, typer.Option("--weights", help="How the base is held in memory; int8, nf4 and fp8 take less.")
]
To = Annotated[
    Path | None,
    typer.Option(
        "--to",
        help="The grid's file, generated.png by default; its panels get -1, -2, ... appended, the recipe .json.",
    ),
]
Layout = Annotated[
    str | None,
    typer.Option("--layout", help="ROWSxCOLS:WIDTHxHEIGHT of a panel (3x1:1024x512), in place of a task."),
]
Offload = Annotated[
    bool, typer.Option("--offload", help="Keep the base in main memory, and send it to the GPU block by block.")
]
Retry = Annotated[
    int, typer.Option("--retry", help="How often a malformed grid is drawn again, with other seeds, at most.")
]
MoreLoras = Annotated[
    list[str] | None,
    typer.Option("--lora", help="FILE or FILE=0.8: another LoRA beside the first, with its strength; repeatable."),
]
PanelTexts = Annotated[
    list[str] | None, typer.Option("--panel", help='... and 1="TEXT", what a panel shows; once for each panel.')
]
GivenPictures = Annotated[
    list[str] | None, typer.Option("--given", help="1=photo.png: a panel that exists already; repeatable.")
]
Steps = Annotated[
    int | None, typer.Option("--steps", help="Steps from noise to image; by default as usual for the base's family.")
]
Guidance = Annotated[
    float | None, typer.Option("--guidance", help="How strongly the prompt pulls; by default as usual for the family.")
]
Model = Annotated[
    str | None, typer.Option("--model", help="Base model; the one that the LoRA was trained on by default.")
]
ReferenceImages = Annotated[
    list[Path] | None,
    typer.Option("--reference", help="An image that the model is shown beside the grid; repeatable."),
]


def train(  # noqa: PLR0913, PLR0917  (one argument per option)
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
    gpu: Annotated[
        float | None,
        typer.Option("--gpu", min=1, help="With --plan: GiB of another GPU than the one here; what would fit it?"),
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Show the training in a browser on this machine while it runs.")
    ] = False,
) -> None:
    """Train a LoRA on a data set; an interrupted training resumes."""
    if gpu is not None and not plan:
        raise BadInput(f"--gpu {gpu:g} says which GPU to plan for; add --plan, or leave it out.")
    if plan and serve:
        raise BadInput("--plan trains nothing, so there is nothing to --serve; leave one out.")
    with console.progress():  # PyTorch alone may take half a minute to load
        run = iclora.open_run(task, folder=out)
        source = run if data is None else data
        training = iclora.open_training(
            source, task=task, settings=settings or (), into=into or (run.lora.parent if data else None)
        )
    if plan:
        console.plan(training, gpu)
        return
    training.check()
    if not training.is_main:  # another process reports
        training.run()
        return
    with endings.logged_in(training.job.folder), console.progress() as progress:
        console.lines(training.lines())
        with _page_of(training.job.folder) if serve else nullcontext():
            outcome = training.run(progress)
    console.trained(outcome, training.job)
    if training.handover:
        console.handed_over(training.handover)
    console.to_try(run if data is None else None, outcome, training.job)


@contextmanager
def _page_of(folder: Path) -> Iterator[None]:
    """The page of a training, beside it."""
    from iclora import watching
    from iclora.page import browser

    def failed(why: str) -> None:
        console.error(why, "warning")

    folder.mkdir(parents=True, exist_ok=True)
    with browser.opener(folder) as open_page:

        def opened(address: str) -> None:
            console.line(f"Watch at {address}")
            open_page(address)

        with watching.served(folder, opened, failed):
            yield


def watch(
    folder: Annotated[Path, typer.Argument(help="A training's folder, or that of a run that is trained on.")],
) -> None:
    """Show a training in a browser, while it runs and afterwards.

    Serves a page for this machine only, until Ctrl-C. It changes nothing, and stopping it stops no training.
    """
    from iclora import watching
    from iclora.page import browser

    with browser.opener(watching.find(folder)) as open_page:

        def opened(address: str) -> None:
            console.line(f"Watch at {address}")
            console.line("Ctrl-C ends the page, not the training.")
            open_page(address)

        iclora.watch(folder, opened)


def generate(  # noqa: PLR0913, PLR0917  (one argument per option)
    lora: Annotated[Path, typer.Argument(help="A LoRA file.")],
    prompt: Annotated[
        str, typer.Argument(help="A joint caption, with the markers of the LoRA's task.", show_default=False)
    ] = "",
    summary: Annotated[
        str, typer.Option("--summary", help="In place of a joint caption: what the panels share ...")
    ] = "",
    panels: PanelTexts = None,
    prompts: Prompts = None,
    given: GivenPictures = None,
    references: ReferenceImages = None,
    keep_given: Annotated[
        bool, typer.Option("--keep-given", help="Leave the given panels unchanged to the pixel.")
    ] = False,
    strength: Annotated[float, typer.Option("--strength", help="Of the LoRA: 0 is the base, 1 as trained.")] = 1.0,
    more: MoreLoras = None,
    task: Annotated[
        str | None, typer.Option("--task", help="The task whose canvas is drawn; for LoRAs of other programs.")
    ] = None,
    layout: Layout = None,
    model: Model = None,
    weights: Weights = "auto",
    offload: Offload = False,
    seed: Annotated[list[int] | None, typer.Option("--seed", help="One image set for each; repeatable.")] = None,
    steps: Steps = None,
    guidance: Guidance = None,
    retry: Retry = 0,
    to: To = None,
) -> None:
    """Generate image sets with a LoRA, from text or around images."""
    asked: list[Prompt] = [] if prompts is None else read(prompts)
    if prompt or summary or panels or not asked:
        asked.append(Prompt(prompt, summary, _by_panel("--panel", "TEXT", panels or [])))
    with console.progress() as progress:
        generation = iclora.open_generation(
            [(lora, strength), *map(_with_strength, more or [])],
            asked,
            given={panel: Path(file) for panel, file in _by_panel("--given", "FILE", given or []).items()},
            references=references or (),
            keep_given=keep_given,
            task=task,
            layout=layout,
            model=model,
            weights=weights,
            offload=offload,
            seeds=seed or [0],
            steps=steps,
            guidance=guidance,
            retry=retry,
        )
        if to is not None:
            generation.check_files(to)
        console.lines(f"note: {remark}" for remark in generation.remarks)
        drawn = generation.run(progress)
    for image_set, (grid, *panel_files, recipe) in zip(drawn, generation.free_files(to), strict=True):
        image_set.save(grid, panel_files, recipe)
        console.line(f"{grid}, its panels in {panel_files[0]} to {panel_files[-1].name}, its recipe in {recipe.name}")
        if image_set.remark:
            console.line(f"note: {grid} {image_set.remark}")


def handover(  # noqa: PLR0913, PLR0917  (one argument per option)
    lora: Annotated[Path, typer.Argument(help="A LoRA file that iclora trained.")],
    to: Annotated[Path | None, typer.Option("--to", help="The folder; `handover` beside the file by default.")] = None,
    model: Model = None,
    dtype: Annotated[iclora.Dtype, typer.Option("--dtype", help="Of the weights in the file.")] = "fp32",
    given: Annotated[
        list[int] | None,
        typer.Option("--given", help="A panel that ComfyUI's workflow for given panels takes; repeatable."),
    ] = None,
    keep_given: Annotated[
        bool, typer.Option("--keep-given", help="That workflow leaves given panels unchanged to the pixel.")
    ] = False,
    data_set: Annotated[
        str, typer.Option("--dataset", help="ORG/NAME of the data set on the Hugging Face hub, for a link.")
    ] = "",
) -> None:
    """Write a folder for other people and programs.

    It has the LoRA, a model card, ComfyUI workflows and a diffusers script.
    """
    of_training = (lora.parent / endings.RUN_LOG).exists()  # a LoRA may also lie somewhere else
    with endings.logged_in(lora.parent) if of_training else nullcontext(), console.progress():
        done = iclora.hand_over(
            lora, to=to, model=model, dtype=dtype, given=given or (), keep_given=keep_given, data_set=data_set
        )
    console.handed_over(done)


def evaluate(  # noqa: PLR0913, PLR0917  (one argument per option)
    task: TaskName,
    out: Out = None,
    lora: Annotated[
        list[Path] | None, typer.Option("--lora", help="A LoRA file, the run's by default; repeatable.")
    ] = None,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="Compare all that the run's training has saved.")
    ] = False,
    choose: Annotated[
        bool, typer.Option("--choose", help="Make the chosen one the run's LoRA; the former is kept beside it.")
    ] = False,
    strength: Annotated[
        list[float] | None, typer.Option("--strength", help="At which each is tried, 1 by default; repeatable.")
    ] = None,
    judge: Annotated[
        str | None, typer.Option("--judge", help="A captioner that judges every grid: server, local, or a path.")
    ] = None,
    prompts: HeldOutPrompts = None,
    seeds: Annotated[int, typer.Option("--seeds", help="Image sets for each prompt.")] = 2,
    given: Annotated[
        list[int] | None,
        typer.Option("--given", help="A panel that is given from the held-out grids; repeatable."),
    ] = None,
    vectors: VectorsName = None,
    detector: DetectorName = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="An option of these (vectors.model=NAME, judge.url=URL); repeatable."),
    ] = None,
    model: Model = None,
    weights: Weights = "auto",
    offload: Offload = False,
    steps: Steps = None,
    guidance: Guidance = None,
) -> None:
    """Compare LoRAs with their base on the same prompts and seeds."""
    run = iclora.open_run(task, folder=out)
    with endings.logged_in(run.folder), console.progress() as progress:
        evaluation = iclora.evaluate(
            run,
            lora or (),
            checkpoints=checkpoints,
            choose=choose,
            judge=judge,
            strengths=strength or (),
            prompts=[] if prompts is None else read(prompts),
            seeds=seeds,
            given=given or (),
            vectors=vectors,
            detector=detector,
            settings=settings or (),
            model=model,
            weights=weights,
            offload=offload,
            steps=steps,
            guidance=guidance,
            progress=progress,
        )
    console.evaluated(run, evaluation)


def compare(
    task: TaskName,
    out: Out = None,
    between: Annotated[
        list[str] | None,
        typer.Option("--between", help="A candidate as the evaluation names it, twice; the chosen LoRA and the base."),
    ] = None,
    by: Annotated[str, typer.Option("--by", help="Who marks, where several people do.")] = "",
) -> None:
    """Let people mark which pictures of an evaluation are better.

    Serves a page for a browser on this machine, until Ctrl-C.
    """
    from iclora.page import browser

    if between is not None and len(between) != 2:  # noqa: PLR2004
        raise BadInput(f"--between names two candidates, once each, got {len(between)}.")
    run = iclora.open_run(task, folder=out, must_exist=True)
    with endings.logged_in(run.folder), browser.opener(run.folder) as open_page, ExitStack() as reading:
        reading.enter_context(console.progress())

        def opened(address: str) -> None:
            reading.close()
            console.line(f"Compare at {address}")
            console.line("Ctrl-C ends the comparison and prints the result; every mark is kept.")
            open_page(address)

        found = iclora.compare(run, opened, between=(between[0], between[1]) if between else None, by=by)
    console.line(str(found))


def _by_panel(option: str, what: str, given: list[str]) -> dict[int, str]:
    found: dict[int, str] = {}
    for text in given:
        panel, equals, value = text.partition("=")
        if not equals or not panel.isdecimal():
            raise BadInput(f"{option} takes PANEL={what} such as 1={EXAMPLES[option]}, got '{text}'.")
        if int(panel) in found:
            raise BadInput(
                f"panel {int(panel)} has two values for {option}, {found[int(panel)]} and {value}; leave one out."
            )
        found[int(panel)] = value
    return found


def _with_strength(text: str) -> tuple[Path, float]:
    """A file and its strength. A file's name may contain an equals sign itself."""
    file, equals, strength = text.rpartition("=")
    if not equals or Path(text).exists():
        return Path(text), 1.0
    try:
        return Path(file), float(strength)
    except ValueError as error:
        raise BadInput(f"--lora takes FILE or FILE=STRENGTH such as style.safetensors=0.8, got '{text}'.") from error
