"""The line of stages, all of it or up to one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from iclora import console
from iclora.cli.opening import (
    CaptionerName,
    Out,
    Overrides,
    ScorerName,
    Sources,
    TaskName,
    asked_for,
    folder_of,
    open_run,
    settings_of,
)
from pipeline.errors import BadInput


def command_to(last: str) -> Callable[..., None]:
    """The command that brings the line up to a stage."""
    return {"filter": _filter_command, "caption": _caption_command}.get(last) or _line_command(last)


def _line_command(last: str) -> Callable[..., None]:
    def command(
        task: TaskName,
        source: Sources = None,
        out: Out = None,
        captioner: CaptionerName = None,
        scorer: ScorerName = None,
        overrides: Overrides = None,
    ) -> None:
        _run_line(last, task, out, asked_for(source, captioner, scorer, overrides))

    return command


def _run_line(last: str, task: str, out: Path | None, asked: dict[str, Any]) -> None:
    with open_run(task, out, asked) as run:
        with console.progress() as progress:
            marks = []
            for mark, worked in run.run(progress, last):
                marks.append(mark)
                if not worked:
                    console.console.print(f"{mark.name}: done, {mark.kept} kept, nothing to do")
                elif not console.console.is_terminal:
                    counts = f"{mark.entered} in, {mark.kept} kept, {mark.entered - mark.kept} rejected"
                    console.console.print(f"{mark.name}: {counts}, {mark.seconds:.1f} s")
        console.summary(run, marks)


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
    _run_line("filter", task, out, asked_for(source, captioner, scorer, overrides) | {"fixed": fixed})


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
    asked = asked_for(source, captioner, scorer, overrides)
    if not show_prompt:
        _run_line("caption", task, out, asked)
        return
    import captioners
    from iclora.run import load_task
    from pipeline import plugins
    from pipeline.captioning import instructions

    settings = settings_of(task, folder_of(task, out), asked)
    told = load_task(settings)
    if plugins.load(captioners, settings.captioner).make(told.captioner).verbatim:
        raise BadInput(f"the captioner '{settings.captioner}' takes texts over as they are and is sent nothing.")
    print(instructions.show(told, told.captioner.get("images", "panels")))
