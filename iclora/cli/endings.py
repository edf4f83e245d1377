"""How commands end: their exit codes, and the log that a job keeps of all that comes before (`--log FILE`)."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from iclora import console
from iclora.cli.interrupts import EXIT_CODE
from pipeline.errors import EmptyResult, ToolkitError

DONE, EMPTY, REFUSED, STOPPED = 0, 1, 2, EXIT_CODE
"""docs/many-machines.md lists them."""

Log = Annotated[
    Path | None,
    typer.Option(
        "--log", metavar="FILE", help="Appends what is done as JSON lines: start, progress, stages, refusal, finish."
    ),
]


def exit_code(error: BaseException) -> int:
    """The code that a command exits with after an error; 1 is also Python's own for a bug, after its traceback."""
    if isinstance(error, KeyboardInterrupt):
        return STOPPED
    refused = isinstance(error, ToolkitError | OSError) and not isinstance(error, EmptyResult)
    return REFUSED if refused else EMPTY


def logged(function: Callable[..., None]) -> Callable[..., None]:
    """The command with the option --log."""

    @wraps(function)
    def command(*args: Any, log: Path | None = None, **options: Any) -> None:
        if log is None or os.environ.get("RANK", "0") != "0":  # under accelerate launch the main process tells
            function(*args, **options)
            return
        with console.logged(log, exit_code):
            function(*args, **options)

    own = inspect.signature(function, eval_str=True)
    option = inspect.Parameter("log", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Log)
    command.__signature__ = own.replace(parameters=[*own.parameters.values(), option])  # type: ignore[attr-defined]
    command.__annotations__ = function.__annotations__ | {"log": Log}
    return command
