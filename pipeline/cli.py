"""The `iclora` command: only it exits, only it and `screen` print. Heavy packages are imported inside the commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from pipeline import screen
from pipeline.errors import BadInput, ToolkitError

if TYPE_CHECKING:
    from pipeline.road import Road, Settings
    from training.job import Job

app = typer.Typer(
    help="From related images to a reviewed In-Context LoRA data set.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

TaskName = Annotated[str, typer.Argument(help="Name of a task (see `iclora tasks`) or path of a task file.")]
Sources = Annotated[list[Path] | None, typer.Option("--source", help="Film, picture or folder; may be repeated.")]
Out = Annotated[Path | None, typer.Option("--out", help="The run's folder; runs/TASK without it.")]
CaptionerName = Annotated[str | None, typer.Option("--captioner", help="local, server, sidecar or scripted.")]
ScorerName = Annotated[str | None, typer.Option("--scorer", help="open_clip or none.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="key=value over the task file (group.window=8); may be repeated.")
]


def main() -> None:
    """Runs the command; what the user can mend ends as one sentence and exit code 2."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's waiting threads else take the cores from the others
    try:
        app()
    except ToolkitError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:  # a full disk, a folder that may not be written, a table that another program holds
        print(f"error: {error.filename or 'a file'} can't be used: {error.strerror or error}.", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here.", file=sys.stderr)
        raise SystemExit(130) from None


# ---- the line


def _line_command(last: str) -> Callable[..., None]:
    """A command that brings the line up to a stage."""

    def command(
        task: TaskName,
        source: Sources = None,
        out: Out = None,
        captioner: CaptionerName = None,
        scorer: ScorerName = None,
        overrides: Overrides = None,
    ) -> None:
        _run_line(last, task, out, _asked(source, captioner, scorer, overrides))

    return command


def _run_line(last: str, task: str, out: Path | None, asked: dict[str, Any]) -> None:
    with _open(task, out, asked) as road:
        with screen.progress() as progress:
            marks = []
            for mark, worked in road.run(progress, last):
                marks.append(mark)
                if not worked:
                    screen.console.print(f"{mark.name}: done, {mark.kept} kept, nothing to do")
                elif not screen.console.is_terminal:
                    counts = f"{mark.entered} in, {mark.kept} kept, {mark.entered - mark.kept} rejected"
                    screen.console.print(f"{mark.name}: {counts}, {mark.seconds:.1f} s")
        screen.summary(road, marks)


def _filter_command(  # noqa: PLR0913, PLR0917  (one argument an option)
    task: TaskName,
    source: Sources = None,
    out: Out = None,
    captioner: CaptionerName = None,
    scorer: ScorerName = None,
    overrides: Overrides = None,
    fixed: Annotated[
        bool | None,
        typer.Option("--fixed/--calibrated", help="Fixed thresholds, or such as the run's own scores give (usual)."),
    ] = None,
) -> None:
    """The line up to its stage, with thresholds of either kind."""
    _run_line("filter", task, out, _asked(source, captioner, scorer, overrides) | {"fixed": fixed})


def _caption_command(  # noqa: PLR0913, PLR0917  (one argument an option)
    task: TaskName,
    source: Sources = None,
    out: Out = None,
    captioner: CaptionerName = None,
    scorer: ScorerName = None,
    overrides: Overrides = None,
    show_prompt: Annotated[
        bool, typer.Option("--show-prompt", help="Print what would be sent for one grid, and send nothing.")
    ] = False,
) -> None:
    """The line up to its stage, or a look at what its captioner is told."""
    asked = _asked(source, captioner, scorer, overrides)
    if not show_prompt:
        _run_line("caption", task, out, asked)
        return
    import captioners
    from pipeline import discover, instructions
    from pipeline.road import load_task

    settings = _settings(task, _folder(task, out), asked)
    told = load_task(settings)
    if discover.load(captioners, settings.captioner).make(told.captioner).verbatim:
        raise BadInput(f"the captioner '{settings.captioner}' takes texts over as they are and is sent nothing.")
    print(instructions.show(told, told.captioner.get("images", "panels")))


app.command("dataset", help="Run the whole line: from sources to a data set; goes on where it stopped.")(
    _line_command("export")
)
for _name, _help in {
    "collect": "Find films and pictures and take the sharpest frame of every shot.",
    "inspect": "Decode every image once: size, sharpness, hash, colours; reject what can't be used.",
    "group": "Form groups of related images.",
    "compose": "Lay every group out as one grid.",
    "caption": "Write one joint caption per grid.",
    "filter": "Score captions against pictures; reject what does not belong together.",
    "export": "Write the kept grids as a data set.",
}.items():
    _command_of = {"caption": _caption_command, "filter": _filter_command}.get(_name) or _line_command(_name)
    app.command(_name, help=f"{_help} Stages before it are brought up to date first.")(_command_of)


@app.command()
def review(
    task: TaskName,
    out: Out = None,
    apply: Annotated[Path | None, typer.Option("--apply", help="An edited captions.csv to take over.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --apply: print what would change, no more.")] = False,
    serve: Annotated[
        bool, typer.Option("--serve", help="Review in a browser on this machine; ends at Ctrl-C.")
    ] = False,
) -> None:
    """Write captions.csv and review.html, or take an edited table over, or serve the review page.

    After an edited table and after the page the data set is written anew.
    """
    if dry_run and apply is None:
        raise BadInput("--dry-run tells what a table would change; name the table with --apply captions.csv.")
    if apply and serve:
        raise BadInput(f"--apply {apply} and --serve are two ways to review; give one after the other.")
    with _open(task, out) as road:
        if serve:
            _serve(road)
            return
        if apply is None:
            road.write_review()
            screen.set_aside(road)
            screen.console.print(
                f"Look at {road.folder / 'review.html'}, edit {road.folder / 'captions.csv'}, then type"
            )
            screen.console.print(f"  {road.command_to_apply}")
            screen.console.print(f"or review in a browser: {road.command('review', '--serve')}")
        elif dry_run:
            changes = road.edits(apply)
            screen.diff(changes, road)
            screen.console.print(f"{len(changes)} rows would change; nothing was applied.")
        else:
            _take_over(road, apply)


def _take_over(road: Road, table: Path) -> None:
    """Applies a table, has the line run on from where texts are scored, and tells what came of edited captions."""
    from pipeline import reviews

    changes = road.apply(table)
    screen.diff(changes, road)
    with screen.progress() as progress:
        marks = [mark for mark, _ in road.run(progress, first="filter")]
    edited = {change.review.grid for change in changes if "caption" in [name for name, _, _ in change.fields]}
    for row in reviews.rows(road.store, road.task):
        if row.id in edited:
            scores = [f"{score.name} {score.value:.3f}" for score in row.scores]
            word = f"{row.decision} by your word" if row.decided else row.decision
            screen.console.print(
                f"{row.id} is now {word}: {', '.join((*scores, *row.reasons)) or 'not scored'}", markup=False
            )
    screen.set_aside(road)
    screen.console.print(f"{len(changes)} rows changed; {marks[-1].kept} grids in {road.folder / 'dataset'}")


def _serve(road: Road) -> None:
    """The review page until Ctrl-C, then the line to its end."""
    import webbrowser

    from pipeline.page.app import serve

    def opened(address: str) -> None:
        screen.console.print(f"Review at {address}", markup=False)
        screen.console.print("Ctrl-C ends it and writes the data set anew.")
        # Elsewhere `webbrowser` would start a text browser in this very terminal.
        if sys.platform in ("win32", "darwin") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
            webbrowser.open(address)

    changes = serve(road, opened)
    with screen.progress() as progress:
        marks = [mark for mark, _ in road.run(progress, first="filter")]
    screen.set_aside(road)
    screen.console.print(f"{changes} changes; {marks[-1].kept} grids in {road.folder / 'dataset'}")


@app.command()
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

    folder = _folder(task, out, must_exist=True)
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
            row | dict(zip(("was", "becomes"), screen.differing(row["was"], row["becomes"]), strict=True))
            for row in rows
        ]
    frame = pd.json_normalize(rows)
    if as_csv:
        print(frame.to_csv(index=False), end="")
    elif frame.empty:
        print(f"{table} is empty")
    else:
        print(frame.drop(columns=["histogram"], errors="ignore").map(screen.short).to_string(index=False))


@app.command()
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

    job, processes = _job(task, _folder(task, out), data, into, overrides or []), Processes()
    if plan:
        screen.lines(planning.lines(job, planning.make(job, processes.device)))
        screen.console.print(f"What the model will see: {planning.write_sheet(job)}")
        return
    planning.check(job, processes.device)
    if not processes.is_main:
        loop.train(job, processes, lambda *_: None)
        return
    screen.lines(planning.lines(job, planning.make(job, processes.device)))
    with screen.progress() as progress:
        outcome = loop.train(job, processes, progress)
    screen.trained(outcome, job)


@app.command()
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
    settings = _settings(task, folder, {}) if of_run else Settings(task=task)
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


@app.command()
def push(
    task: TaskName,
    repo: Annotated[str, typer.Argument(help="Where to on the Hugging Face hub: ORG/NAME.")],
    out: Out = None,
    public: Annotated[
        bool, typer.Option("--public", help="For all to see; without it the data set is private.")
    ] = False,
) -> None:
    """Send the data set of a run to the Hugging Face hub; HF_TOKEN must hold a token that may write."""
    from pipeline import hub

    folder = _folder(task, out, must_exist=True)
    screen.console.print(f"{'public' if public else 'private'}: {hub.push(folder / 'dataset', repo, public=public)}")


# ---- about the toolkit


@app.command()
def tasks() -> None:
    """List the tasks that come with the toolkit."""
    from pipeline import task

    table = Table("task", "panels", "canvas", "markers", "what it is", box=None, pad_edge=False)
    for name in task.names():
        known = task.load(name)
        layout = known.grid_layout
        width, height = layout.canvas
        table.add_row(name, f"{layout.rows} x {layout.cols}", f"{width}x{height}", " ".join(known.markers), known.title)
    Console(width=160 if not screen.console.is_terminal else None, markup=False).print(table)


@app.command()
def doctor() -> None:
    """Tell what this machine has: versions, device, disk, and which default weights are here."""
    import shutil

    import torch
    from huggingface_hub import try_to_load_from_cache

    from captioners.local import Options as Vlm
    from pipeline import road

    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    print(f"device      {device}, {torch.get_num_threads()} threads")
    print(f"disk free   {shutil.disk_usage('.').free / 2**30:.0f} GiB")
    for name, version in road.versions().items():
        print(f"{name:<22} {version}")
    clip = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"  # where open_clip fetches its laion2b_s34b_b79k from
    for name, repo, file in (
        ("captioner", Vlm().model, "config.json"),
        ("scorer", clip, "open_clip_model.safetensors"),
    ):
        here = isinstance(try_to_load_from_cache(repo, file), str)
        print(f"{name:<11} {repo}: {'on this machine' if here else f'not on this machine; hf download {repo}'}")


# ---- opening a run


@contextmanager
def _open(task: str, out: Path | None, asked: dict[str, Any] | None = None) -> Iterator[Road]:
    """The run as this command asks for it; what it leaves unsaid is as the run was last asked for.

    A new source is a new beginning: with it nothing of the earlier settings holds.

    Args:
        asked: settings by name, None where the command line does not say; without it the run must exist.
    """
    from pipeline.road import Road

    folder = _folder(task, out, must_exist=asked is None)
    road = Road(_settings(task, folder, asked or {}), folder)
    with road.store:
        yield road


def _asked(
    source: list[Path] | None, captioner: str | None, scorer: str | None, overrides: list[str] | None
) -> dict[str, Any]:
    """A command's options as settings by name; None where the command line does not say."""
    return {
        "sources": tuple(str(path.resolve()) for path in source) if source else None,
        "captioner": captioner,
        "scorer": scorer,
        "overrides": tuple(overrides) if overrides else None,
    }


def _settings(task: str, folder: Path, asked: dict[str, Any]) -> Settings:
    """What the command line says, and for the rest what the run in the folder, where there is one, was last asked."""
    from pipeline.road import Settings
    from pipeline.store import Store

    said = {name: value for name, value in asked.items() if value is not None}
    known: dict[str, Any] = {}
    if "sources" not in said and (folder / "run.db").exists():
        with Store(folder) as store:
            known = store.settings() or {}
    return Settings.model_validate(known | said | {"task": task})


def _folder(task: str, out: Path | None, *, must_exist: bool = False) -> Path:
    from pipeline.store import usual_folder

    folder = out or usual_folder(task)
    if must_exist and not (folder / "run.db").exists():
        raise BadInput(f"there is no run in {folder}; make one with 'iclora dataset {task}' or name it with --out.")
    return folder
