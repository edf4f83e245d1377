"""The stages from sources to a data set: all of them, or up to one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import iclora
from iclora import console
from iclora.cli import endings
from iclora.cli.options import Against, CaptionerName, EngineName, Out, ScorerName, Set, Sources, TaskName, Unset
from pipeline.errors import BadInput, EmptyResult

if TYPE_CHECKING:
    from iclora.advancing import StageResult
    from iclora.run import Run


def command_to(last: str) -> Callable[..., None]:
    """The command that brings a run up to a stage."""
    own: dict[str, Callable[..., None]] = {
        "group": _group_command,
        "filter": _filter_command,
        "caption": _caption_command,
        "export": _export_command,
    }
    return own.get(last) or stage_command(last)


def stage_command(last: str) -> Callable[..., None]:
    """The command with the options that all stages have."""

    def command(  # noqa: PLR0913, PLR0917  (one argument per option)
        task: TaskName,
        source: Sources = None,
        against: Against = None,
        out: Out = None,
        captioner: CaptionerName = None,
        scorer: ScorerName = None,
        engine: EngineName = None,
        settings: Set = None,
        unset: Unset = None,
    ) -> None:
        _advance(_open(task, source, against, out, captioner, scorer, engine, settings or (), unset or ()), last)

    return command


def _open(  # noqa: PLR0913, PLR0917  (one argument per option)
    task: str,
    source: Sources,
    against: Against,
    out: Out,
    captioner: str | None,
    scorer: str | None,
    engine: str | None,
    settings: Iterable[str],
    unset: Iterable[str],
) -> Run:
    return iclora.open_run(
        task,
        source or None,
        settings=settings,
        unset=unset,
        captioner=captioner,
        scorer=scorer,
        engine=engine,
        against=against or None,
        folder=out,
    )


def _advance(run: Run, last: str) -> None:
    results: list[StageResult] = []

    def finished(result: StageResult) -> None:
        results.append(result)
        console.finished(result)

    console.begun(run)
    with run, endings.logged_in(run.folder):
        try:
            with console.progress() as progress:
                run.advance(last, progress=progress, on_result=finished)
        except EmptyResult:
            console.summary(run, results)
            raise
        console.summary(run, results)


def _group_command(  # noqa: PLR0913, PLR0917  (one argument per option)
    task: TaskName,
    source: Sources = None,
    against: Against = None,
    out: Out = None,
    captioner: CaptionerName = None,
    scorer: ScorerName = None,
    engine: EngineName = None,
    settings: Set = None,
    unset: Unset = None,
    explain: Annotated[
        str | None,
        typer.Option(
            "--explain",
            metavar="PICTURE",
            help="Print which groups a picture (path, name or 'a.mp4 shot 3') could have joined and what stopped it.",
        ),
    ] = None,
) -> None:
    """The stages up to the groups, or why a picture is in the group that it is in, or in none."""
    run = _open(task, source, against, out, captioner, scorer, engine, settings or (), unset or ())
    asked = any((source, against, captioner, scorer, engine, settings, unset))
    if explain is None:
        _advance(run, "group")
        return
    with run:
        if asked or not run.counts()["groups"]:
            with suppress(EmptyResult), console.progress() as progress:
                run.advance("group", progress=progress)
        console.lines(run.explain(explain))


def _filter_command(  # noqa: PLR0913, PLR0917  (one argument per option)
    task: TaskName,
    source: Sources = None,
    against: Against = None,
    out: Out = None,
    captioner: CaptionerName = None,
    scorer: ScorerName = None,
    engine: EngineName = None,
    settings: Set = None,
    unset: Unset = None,
    fixed: Annotated[
        bool | None,
        typer.Option(
            "--fixed/--calibrated",
            help="Fixed thresholds, or thresholds calibrated on the run's own scores (the default); sets filter.fixed.",
        ),
    ] = None,
) -> None:
    """The stages up to the filter, with thresholds of either kind."""
    chosen = [] if fixed is None else [f"filter.fixed={str(fixed).lower()}"]
    _advance(
        _open(task, source, against, out, captioner, scorer, engine, [*(settings or ()), *chosen], unset or ()),
        "filter",
    )


def _caption_command(  # noqa: PLR0913, PLR0917  (one argument per option)
    task: TaskName,
    source: Sources = None,
    against: Against = None,
    out: Out = None,
    captioner: CaptionerName = None,
    scorer: ScorerName = None,
    engine: EngineName = None,
    settings: Set = None,
    unset: Unset = None,
    show_prompt: Annotated[
        bool, typer.Option("--show-prompt", help="Print what would be sent for one grid, and send nothing.")
    ] = False,
) -> None:
    """The stages up to the captions, or a look at what the captioner is sent."""
    run = _open(task, source, against, out, captioner, scorer, engine, settings or (), unset or ())
    if show_prompt:
        console.text(run.prompt())
    else:
        _advance(run, "caption")


def _export_command(  # noqa: PLR0913, PLR0917  (one argument per option)
    task: Annotated[
        str | None, typer.Argument(help="A task's name (see `iclora tasks`) or the path of a task file.")
    ] = None,
    source: Sources = None,
    against: Against = None,
    out: Out = None,
    captioner: CaptionerName = None,
    scorer: ScorerName = None,
    engine: EngineName = None,
    settings: Set = None,
    unset: Unset = None,
    dataset: Annotated[
        Path | None,
        typer.Option(
            "--dataset",
            help="Instead of a task: a finished data set whose configs are written anew, with --set train.*; needs "
            "neither run nor sources.",
        ),
    ] = None,
) -> None:
    """All stages, or only the configs of a finished data set."""
    if dataset is None:
        if task is None:
            raise BadInput("export takes a task, or the folder of a finished data set with --dataset.")
        _advance(_open(task, source, against, out, captioner, scorer, engine, settings or (), unset or ()), "export")
        return
    if any((task, source, against, out, captioner, scorer, engine, unset)):
        raise BadInput(
            "--dataset writes the configs of a finished data set and takes nothing but --set train.* beside it."
        )
    console.configs(dataset, iclora.write_configs(dataset, settings or ()))
