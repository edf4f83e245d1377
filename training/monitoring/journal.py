"""A training's log: CSV tables, TensorBoard events and, on request, Weights & Biases.

`log.csv` has one line per step, `validation.csv` one per step, noise level, panel and kind of condition,
`evaluation.csv`, where grids are scored, one per evaluation. Everything is in the files when a
call returns, so that a killed run leaves whole lines. A resumed run drops the lines of the steps that it repeats.
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

from pipeline import files
from pipeline.errors import BadInput
from training.evaluation.grid_scorer import Scores
from training.monitoring.losses import Losses, by_kind, mean

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

STEPS = "log.csv"
VALIDATION = "validation.csv"
EVALUATION = "evaluation.csv"
TENSORBOARD = "tensorboard"
SCORED = ("step", "score", "low", "high", "followed", "kept", "copies", "memorised", "malformed")
"""Columns of `evaluation.csv`; low and high are the ends of the score's 95 % interval, empty
where one prompt is drawn."""
WANDB_RUN = "wandb-run.txt"
"""The run's id at Weights & Biases, with which a resumed training continues the same curves."""


class Journal:
    """A training's log, open for the steps after `from_step`.

    TensorBoard and Weights & Biases use the same names: `train/...` for steps, `validation/...` for held-out grids,
    `evaluation/...` for drawn ones.
    """

    def __init__(  # noqa: PLR0913  (one argument per fact)
        self,
        folder: Path,
        panels: int,
        *,
        from_step: int,
        wandb: bool,
        name: str,
        settings: Mapping[str, Any],
        scored: bool = False,
    ) -> None:
        """Opens the log and drops its lines of later steps.

        Args:
            folder: the training's; created if missing.
            panels: panels per grid.
            from_step: steps that are done; 0 starts over and keeps nothing.
            wandb: log to Weights & Biases too.
            name: the training's name at Weights & Biases.
            settings: shown there with the run.
            scored: whether grids are scored on the way.

        Raises:
            BadInput: Weights & Biases is not installed or refuses, or the log belongs to another training.
        """
        columns = ["step", "loss", *(f"loss_{panel + 1}" for panel in range(panels))]
        columns += ["learning_rate", "gradient_norm", "seconds", "memory"]
        folder.mkdir(parents=True, exist_ok=True)
        self._run: Any = None
        with ExitStack() as opened:
            if wandb:
                self._run, self._image = _wandb_run(folder, from_step, name, settings)
                opened.callback(self._run.finish)
            self._steps = opened.enter_context(closing(_Table(folder / STEPS, columns, from_step)))
            columns = ["step", "sigma", "panel", "loss", "given"]
            self._validation = opened.enter_context(closing(_Table(folder / VALIDATION, columns, from_step)))
            self._evaluation = (
                opened.enter_context(closing(_Table(folder / EVALUATION, SCORED, from_step))) if scored else None
            )
            self._events = opened.enter_context(_events(folder / TENSORBOARD, from_step))
            self._opened = opened.pop_all()

    def step(  # noqa: PLR0913  (one argument per column)
        self,
        step: int,
        loss: float,
        panel_losses: Sequence[float | None],
        learning_rate: float,
        gradient_norm: float,
        *,
        seconds: float,
        memory: float | None = None,
    ) -> None:
        """One step of the training.

        Args:
            step: its number, from 1.
            panel_losses: a panel's mean over the grids in which it was learnt; None if there were none.
            gradient_norm: before clipping.
            seconds: duration of the step.
            memory: GiB that the process holds on its device; None if that is not known.
        """
        values = [loss, *panel_losses, learning_rate, gradient_norm, seconds, memory]
        self._steps.add([[step, *values]])
        names = self._steps.columns[1:]
        self._log(step, {f"train/{name}": one for name, one in zip(names, values, strict=True) if one is not None})

    def validation(self, step: int, losses: Losses) -> None:
        """The losses on held-out grids, by kind of condition, noise level and panel (from 1)."""
        self._validation.add([step, sigma, panel, loss, kind] for (kind, sigma, panel), loss in sorted(losses.items()))
        means = {"validation/loss": mean(losses)}
        kinds = by_kind(losses)
        if len(kinds) > 1:
            means |= {f"validation/{kind.replace(' ', '_')}": fmean(of.values()) for kind, of in kinds.items()}
        for name, place in (("sigma", 1), ("panel", 2)):
            for value in sorted({key[place] for key in losses}):
                means[f"validation/{name}_{value:g}"] = fmean(
                    loss for key, loss in losses.items() if key[place] == value
                )
        self._log(step, means)

    def evaluation(self, step: int, scores: Scores) -> None:
        """The scores of grids that were drawn at a step. The journal must have been opened for it."""
        if self._evaluation is None:
            raise ValueError("this journal was opened without a table of scores")
        score = scores.score
        shares = [scores.copies, scores.memorised, scores.malformed]
        values = [score.value, score.low, score.high, scores.followed, scores.kept, *shares]
        self._evaluation.add([[step, *values]])
        named = zip(SCORED[1:], values, strict=True)
        self._log(step, {f"evaluation/{name}": one for name, one in named if one is not None})

    def picture(self, step: int, image: Image.Image) -> None:
        """A sample drawn at a step."""
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

    def _log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._events.add_scalar(name, value, step)
        self._events.flush()
        if self._run is not None:
            self._run.log(values, step=step)


class _Table:
    """A CSV file whose first column is the step, and which grows by whole lines."""

    def __init__(self, path: Path, columns: Sequence[str], from_step: int) -> None:
        """Opens it and keeps the lines up to `from_step`; none if that is 0."""
        self.columns = columns
        header, *lines = _whole_lines(path) or [b""]
        if lacking := _lacking(header, columns):
            header, lines = _line(columns), [line.rstrip() + b"," * lacking + b"\n" for line in lines]
        if from_step and header and header != _line(columns):
            raise BadInput(
                f"{path} has the columns {header.decode(errors='replace').strip()}, but this training writes "
                f"{','.join(columns)}; move it away, or start the training in another folder."
            )
        kept = [line for line in lines if from_step and _step_of(line) <= from_step]
        files.write(path, b"".join([_line(columns), *kept]))
        self._file = path.open("ab")

    def add(self, rows: Iterable[Sequence[float | str | None]]) -> None:
        """Appends the rows in one write, so that a kill comes before or after all of them."""
        self._file.write(b"".join(_line([_cell(value) for value in row]) for row in rows))
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _events(folder: Path, from_step: int) -> Any:
    """TensorBoard's writer. Later steps in earlier files are hidden; when starting over, those files are deleted."""
    from torch.utils import tensorboard

    if not from_step:
        for path in folder.glob("events.out.tfevents.*"):
            path.unlink()
    return tensorboard.SummaryWriter(str(folder), purge_step=from_step + 1)


def _line(cells: Sequence[str]) -> bytes:
    return ",".join(cells).encode() + b"\n"


def _step_of(line: bytes) -> float:
    """The step of a line; infinite, so later than any, if damage on disk has left no number."""
    first = line.partition(b",")[0]
    return int(first) if first.isdigit() else math.inf


def _lacking(header: bytes, columns: Sequence[str]) -> int:
    """How many of the last columns the log of an earlier version lacks; 0 if it is no earlier one."""
    written = header.decode(errors="replace").strip().split(",")
    return len(columns) - len(written) if header and [*columns[: len(written)]] == written else 0


def _cell(value: float | str | None) -> str:
    """Nine digits distinguish any two float32. No name of a condition has a comma."""
    return value if isinstance(value, str) else "" if value is None else f"{value:.9g}"


def _whole_lines(path: Path) -> list[bytes]:
    """A file's lines without a last one that a kill or a full disk cut off; none if there is no file."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return [line for line in lines if line.endswith(b"\n")]


def _wandb_run(folder: Path, from_step: int, name: str, settings: Mapping[str, Any]) -> tuple[Any, Any]:
    """The run at Weights & Biases (a resumed training continues its own) and the package's class for pictures."""
    try:
        package: Any = importlib.import_module("wandb")
        package.init  # noqa: B018  a data folder named wandb can be imported too, as an empty package
    except (ImportError, AttributeError) as error:
        raise BadInput("train.wandb: the package is not installed; pip install wandb, or leave it out.") from error
    kept = folder / WANDB_RUN
    known = kept.read_text(encoding="utf-8") if from_step and kept.exists() else None
    try:
        # Steps that a killed run logged after its last checkpoint are repeated, and Weights & Biases keeps the first
        # value. Both are equal, since resuming is exact.
        run = package.init(
            project="iclora", name=name, config=dict(settings), dir=str(folder), id=known, resume="allow"
        )
    except package.Error as error:
        raise BadInput(
            f"train.wandb: Weights & Biases refuses ({error}); run 'wandb login', set WANDB_MODE=offline, "
            "or leave it out."
        ) from error
    files.write(kept, run.id.encode())
    return run, package.Image


def read_steps(folder: Path) -> pd.DataFrame:
    """`log.csv`: one row per step.

    Raises:
        BadInput: it is missing.
    """
    return _read(folder / STEPS)


def read_validation(folder: Path) -> pd.DataFrame:
    """`validation.csv`: one row per step, noise level, panel and kind of condition; none if nothing was held out.

    Raises:
        BadInput: it is missing.
    """
    found = _read(folder / VALIDATION)
    found["given"] = found["given"].fillna("").astype(str) if "given" in found else ""
    return found


def held_out(validation: pd.DataFrame) -> pd.Series[float]:
    """The held-out loss by step; all kinds of conditions count alike."""
    return validation.groupby(["step", "given"])["loss"].mean().groupby("step").mean()


def read_evaluation(folder: Path) -> pd.DataFrame:
    """`evaluation.csv`: one row per evaluation; none if grids were not scored."""
    import pandas as pd

    return _read(folder / EVALUATION) if (folder / EVALUATION).exists() else pd.DataFrame(columns=list(SCORED))


def lowest(folder: Path) -> tuple[int, float] | None:
    """The step with the lowest held-out loss, and that loss; step 0 is the base alone. None if nothing was held out.

    Raises:
        BadInput: the folder has no log.
    """
    losses = held_out(read_validation(folder).dropna())
    return None if losses.empty else (int(losses.index[int(losses.argmin())]), float(losses.min()))


def _read(path: Path) -> pd.DataFrame:
    """A table without lines that are cut off or damaged; cells that are no numbers where there should be some are
    missing values."""
    import pandas as pd

    header, *lines = _whole_lines(path) or [b""]
    if not header:
        raise BadInput(f"{path} does not exist; give the folder of a training, which 'iclora train' prints.")
    kept = [line for line in lines if _step_of(line) < math.inf and line.count(b",") == header.count(b",")]
    table = pd.read_csv(io.BytesIO(b"".join([header, *kept])), encoding_errors="replace")
    for name in table.columns.difference(["given"]):
        table[name] = pd.to_numeric(table[name], errors="coerce")
    return table
