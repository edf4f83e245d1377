"""What a training writes down as it goes: two tables, TensorBoard's events and, where asked for, Weights & Biases.

`log.csv` has a line a step, `validation.csv` a line for every step, noise level and panel that was measured. All is in
the files when a call returns, so that a run that is killed leaves whole lines; the one that goes on after it drops
those of the steps that are about to come again.
"""

from __future__ import annotations

import importlib
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import fmean
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pipeline.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

STEPS = "log.csv"
VALIDATION = "validation.csv"
TENSORBOARD = "tensorboard"
WANDB_RUN = "wandb-run.txt"
"""The run's id at Weights & Biases, by which a resumed training goes on in the same curves."""


class Journal:
    """A training's log, open for the steps after `from_step`.

    A measure has one name everywhere at TensorBoard and Weights & Biases: `train/...` for what a step learnt from,
    `validation/...` for held-out grids.
    """

    def __init__(
        self, folder: Path, panels: int, *, from_step: int, wandb: bool, name: str, settings: Mapping[str, Any]
    ) -> None:
        """Opens the log and drops what it holds of later steps.

        Args:
            folder: the training's; made where it is not there.
            panels: of a grid.
            from_step: steps that are done; 0 begins anew and keeps nothing.
            wandb: log to Weights & Biases too.
            name: the training's at Weights & Biases.
            settings: what is shown there beside it.

        Raises:
            BadInput: Weights & Biases is not installed or refuses, or the log there is another training's.
        """
        columns = ["step", "loss", *(f"loss_{panel + 1}" for panel in range(panels))]
        columns += ["learning_rate", "gradient_norm", "seconds"]
        folder.mkdir(parents=True, exist_ok=True)
        self._run: Any = None
        with ExitStack() as opened:
            if wandb:
                self._run, self._image = _wandb_run(folder, from_step, name, settings)
                opened.callback(self._run.finish)
            self._steps = opened.enter_context(closing(_Table(folder / STEPS, columns, from_step)))
            columns = ["step", "sigma", "panel", "loss"]
            self._validation = opened.enter_context(closing(_Table(folder / VALIDATION, columns, from_step)))
            self._events = opened.enter_context(_events(folder / TENSORBOARD, from_step))
            self._opened = opened.pop_all()

    def step(
        self,
        step: int,
        loss: float,
        panel_losses: Sequence[float | None],
        learning_rate: float,
        gradient_norm: float,
        seconds: float,
    ) -> None:
        """One step of the training.

        Args:
            step: its number, from 1.
            panel_losses: a panel's mean over those of the step's grids in which it was learnt; None where in none.
            gradient_norm: before it is cut.
            seconds: that the step took.
        """
        told = [loss, *panel_losses, learning_rate, gradient_norm, seconds]
        self._steps.add([[step, *told]])
        names = self._steps.columns[1:]
        self._log(step, {f"train/{name}": value for name, value in zip(names, told, strict=True) if value is not None})

    def validation(self, step: int, losses: Mapping[tuple[float, int], float]) -> None:
        """The losses on held-out grids, by noise level and panel (from 1)."""
        self._validation.add([step, sigma, panel, loss] for (sigma, panel), loss in sorted(losses.items()))
        told = {"validation/loss": fmean(losses.values())}
        for kind, place in (("sigma", 0), ("panel", 1)):
            for value in sorted({key[place] for key in losses}):
                told[f"validation/{kind}_{value:g}"] = fmean(
                    loss for key, loss in losses.items() if key[place] == value
                )
        self._log(step, told)

    def picture(self, step: int, image: Image.Image) -> None:
        """What the training draws at a step."""
        import numpy as np

        self._events.add_image("samples", np.asarray(image.convert("RGB")), step, dataformats="HWC")
        self._events.flush()
        if self._run is not None:
            self._run.log({"samples": self._image(image)}, step=step)

    def close(self) -> None:
        self._opened.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _log(self, step: int, told: Mapping[str, float]) -> None:
        for name, value in told.items():
            self._events.add_scalar(name, value, step)
        self._events.flush()
        if self._run is not None:
            self._run.log(told, step=step)


class _Table:
    """A CSV file whose first column is a step and which grows by whole lines."""

    def __init__(self, path: Path, columns: Sequence[str], from_step: int) -> None:
        """Opens it with what it holds of the steps up to `from_step`; of none where that is 0."""
        self.columns = columns
        header, *lines = _whole_lines(path) or [b""]
        if from_step and header and header != _line(columns):
            raise BadInput(
                f"{path} has the columns {header.decode(errors='replace').strip()}, and this training writes "
                f"{','.join(columns)}; move it away, or start the training in another folder."
            )
        kept = [line for line in lines if from_step and _step_of(line) <= from_step]
        _write_whole(path, b"".join([_line(columns), *kept]))
        self._file = path.open("ab")

    def add(self, rows: Iterable[Sequence[float | None]]) -> None:
        """Appends the rows in one go, so that a kill comes before or after them all."""
        self._file.write(b"".join(_line([_number(value) for value in row]) for row in rows))
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _events(folder: Path, from_step: int) -> Any:
    """TensorBoard's writer. What earlier files of the folder hold of later steps is not shown; anew, they go."""
    from torch.utils import tensorboard

    if not from_step:
        for path in folder.glob("events.out.tfevents.*"):
            path.unlink()
    return tensorboard.SummaryWriter(str(folder), purge_step=from_step + 1)


def _write_whole(path: Path, content: bytes) -> None:
    part = path.with_suffix(".part")
    part.write_bytes(content)
    part.replace(path)


def _line(cells: Sequence[str]) -> bytes:
    return ",".join(cells).encode() + b"\n"


def _step_of(line: bytes) -> float:
    """The step that a line is of; infinite, later than any, where a fault of the disk has left no number."""
    first = line.partition(b",")[0]
    return int(first) if first.isdigit() else math.inf


def _number(value: float | None) -> str:
    """Nine digits tell any two float32 apart."""
    return "" if value is None else f"{value:.9g}"


def _whole_lines(path: Path) -> list[bytes]:
    """A file's lines but for a last one that a kill or a full disk cut; none where there is no file."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return [line for line in lines if line.endswith(b"\n")]


def _wandb_run(folder: Path, from_step: int, name: str, settings: Mapping[str, Any]) -> tuple[Any, Any]:
    """The run at Weights & Biases, a resumed training's own again, and the package's class for pictures."""
    try:
        package: Any = importlib.import_module("wandb")
        package.init  # noqa: B018  a folder of the package's own data that is called wandb imports as well, empty
    except (ImportError, AttributeError) as error:
        raise BadInput("train.wandb: the package is not installed; pip install wandb, or leave it out.") from error
    kept = folder / WANDB_RUN
    known = kept.read_text(encoding="utf-8") if from_step and kept.exists() else None
    try:
        # Steps that a killed run logged after its last checkpoint come again; there the first to come stays. Both are
        # the same, as a resumed training is exact.
        run = package.init(
            project="iclora", name=name, config=dict(settings), dir=str(folder), id=known, resume="allow"
        )
    except package.Error as error:
        raise BadInput(
            f"train.wandb: Weights & Biases refuses ({error}); run 'wandb login', set WANDB_MODE=offline, "
            "or leave it out."
        ) from error
    _write_whole(kept, run.id.encode())
    return run, package.Image


def read_steps(folder: Path) -> pd.DataFrame:
    """`log.csv`: a row a step.

    Raises:
        BadInput: it is not there.
    """
    return _read(folder / STEPS)


def read_validation(folder: Path) -> pd.DataFrame:
    """`validation.csv`: a row for every step, noise level and panel; none where nothing was held out.

    Raises:
        BadInput: it is not there.
    """
    return _read(folder / VALIDATION)


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    lines = _whole_lines(path)
    if not lines:
        raise BadInput(f"{path} is not there; give the folder of a training, which 'iclora train' names.")
    return pd.read_csv(io.BytesIO(b"".join(lines)))
