"""How commands end: their exit codes, and how much they tell and log of all that comes before."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from iclora import console
from iclora.cli.interrupts import EXIT_CODE
from pipeline.errors import BadInput, EmptyResult, ToolkitError

DONE, EMPTY, REFUSED, STOPPED = 0, 1, 2, EXIT_CODE
"""docs/many-machines.md lists them."""

RUN_LOG = "log.jsonl"
"""The log in the folder of a run or a training, to which every command on it adds."""
Log = Annotated[
    Path | None,
    typer.Option(
        "--log", metavar="FILE", help="Appends what is done as JSON lines: start, progress, stages, refusal, finish."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress, only results, warnings and errors.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", help="Print a line whenever something is begun, and the traceback of an error.")
]


def exit_code(error: BaseException) -> int:
    """The code that a command exits with after an error; 1 is also Python's own for a bug, after its traceback."""
    if isinstance(error, KeyboardInterrupt):
        return STOPPED
    refused = isinstance(error, ToolkitError | OSError) and not isinstance(error, EmptyResult)
    return REFUSED if refused else EMPTY


def logged(function: Callable[..., None]) -> Callable[..., None]:
    """The command with the options --log, --quiet and --verbose."""

    @wraps(function)
    def command(*args: Any, log: Path | None = None, **options: Any) -> None:
        is_main = os.environ.get("RANK", "0") == "0"  # under accelerate launch the main process tells
        with console.logged(log, exit_code) if log and is_main else nullcontext():
            function(*args, **options)

    return voiced(_with_options(command, function, {"log": (None, Log)}))


def voiced(function: Callable[..., None]) -> Callable[..., None]:
    """The command with the options --quiet and --verbose."""

    @wraps(function)
    def command(*args: Any, quiet: bool = False, verbose: bool = False, **options: Any) -> None:
        if quiet and verbose:
            raise BadInput("--quiet and --verbose contradict each other; leave one out.")
        with console.volume("quiet" if quiet else "verbose" if verbose else "usual"):
            function(*args, **options)

    return _with_options(command, function, {"quiet": (False, Quiet), "verbose": (False, Verbose)})


def _with_options(
    command: Callable[..., None], function: Callable[..., None], added: Mapping[str, tuple[Any, Any]]
) -> Callable[..., None]:
    """A command with the options of the function that it calls, and more of its own.

    Args:
        added: default and annotation by name.
    """
    own = inspect.signature(function, eval_str=True)
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=usual, annotation=kind)
        for name, (usual, kind) in added.items()
    ]
    command.__signature__ = own.replace(parameters=[*own.parameters.values(), *more])  # type: ignore[attr-defined]
    command.__annotations__ = function.__annotations__ | {name: kind for name, (_, kind) in added.items()}
    return command


def logged_in(folder: Path) -> AbstractContextManager[None]:
    """Keeps the log of a run or a training in its folder, beside the one of --log; makes no folder for it."""
    return console.logged(folder / RUN_LOG, exit_code, waits=True)
