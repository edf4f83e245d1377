"""`loss.png`: the losses of a training, and the scores of what it draws, if it is scored."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import charts
from pipeline.charts import Chart, Plot
from training.monitoring import journal

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

LOSS = "loss (mean squared error)"
CHARTS = (
    Chart("loss of whole grids", "step", LOSS),
    Chart("held-out loss by noise level (sigma)", "step", LOSS),
    Chart("loss by panel", "step", LOSS),
)
SCORES = Chart("grids drawn from held-out captions", "step", "score: 0 as shuffled real grids, 1 as real ones")
SHARES = {"copies": charts.VERMILLION, "memorised": charts.PURPLE, "malformed": charts.BLACK}


def draw_losses(folder: Path, path: Path, of_step: int, why: str) -> None:
    """The losses in a training's log: of whole grids, by noise level and by panel; and the scores, if there are any.

    Args:
        of_step: the step whose weights the LoRA has.
        why: in words, as in the LoRA's file.

    Raises:
        BadInput: the folder has no log.
    """
    from matplotlib.ticker import MaxNLocator

    steps, validation = journal.read_steps(folder), journal.read_validation(folder).dropna()
    scores, last = journal.read_evaluation(folder), steps["step"].max()
    told = f"Losses of a training of {last:,} steps; the LoRA has the weights of step {of_step:,}, {why} (dotted)"
    plot = Plot(told, CHARTS if scores.empty else (*CHARTS, SCORES))
    whole, levels, panels, *scored = plot.axes
    for axes in plot.axes:
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        axes.set_xlim(-0.02 * last, 1.02 * last)
        axes.axvline(of_step, color=charts.BLACK, linestyle=":", linewidth=1.5)
    _draw_whole(whole, steps, validation)
    _draw_noise_levels(levels, validation)
    _draw_panels(panels, steps, validation)
    for axes in scored:
        _draw_scores(axes, scores)
    plot.save(path)


def smoothed(losses: pd.Series[float]) -> pd.Series[float]:
    """A moving average with more weight on near steps; single steps scatter with their noise levels.

    Two moving averages over a twentieth of all steps make one over a tenth with triangular weights.
    """
    for _ in range(2):
        losses = losses.rolling(max(1, len(losses) // 20), center=True, min_periods=1).mean()
    return losses


def _draw_whole(axes: Axes, steps: pd.DataFrame, validation: pd.DataFrame) -> None:
    axes.plot(
        steps["step"], steps["loss"], ".", color=charts.LORA, alpha=0.25, markersize=5, markeredgewidth=0,
        label="training, each step",
    )  # fmt: skip
    axes.plot(steps["step"], smoothed(steps["loss"]), color=charts.LORA, label="training, smoothed")
    if not validation.empty:
        held_out = journal.held_out(validation)
        lowest = int(held_out.argmin())
        step, loss = held_out.index[lowest], held_out.iloc[lowest]
        axes.plot(held_out.index, held_out, ".-", color=charts.HELD_OUT, label="held out, mean over noise levels")
        label = f"lowest held-out: {loss:.4f} at step {step:,}{'' if step else ' (the base alone)'}"
        axes.plot(step, loss, "o", color=charts.HELD_OUT, markersize=11, markerfacecolor="none", label=label)
    kinds = validation["given"].unique()
    for kind, style in zip(kinds, cycle((":", "--", "-.")), strict=False) if len(kinds) > 1 else ():
        losses = validation[validation["given"] == kind].groupby("step")["loss"].mean()
        axes.plot(losses.index, losses, style, color=charts.HELD_OUT, linewidth=1, label=f"held out, {kind}")


def _draw_noise_levels(axes: Axes, validation: pd.DataFrame) -> None:
    from matplotlib import colormaps

    if validation.empty:
        axes.text(0.5, 0.5, "nothing held out", transform=axes.transAxes, ha="center", color=charts.FAINT)
        return
    for sigma in sorted(validation["sigma"].unique()):
        losses = validation[validation["sigma"] == sigma].groupby("step")["loss"].mean()
        axes.plot(losses.index, losses, ".-", color=colormaps["cividis"](0.9 * sigma), label=f"sigma {sigma:g}")


def _draw_panels(axes: Axes, steps: pd.DataFrame, validation: pd.DataFrame) -> None:
    for panel in range(1, 1 + sum(str(name).startswith("loss_") for name in steps)):
        trained = steps.set_index("step")[f"loss_{panel}"].dropna()
        held_out = validation[validation["panel"] == panel].groupby("step")["loss"].mean()
        if trained.empty and held_out.empty:
            continue  # always given
        colour, style = charts.SERIES[(panel - 1) % len(charts.SERIES)], "." if len(trained) == 1 else "-"
        axes.plot(trained.index, smoothed(trained), style, color=colour, label=f"panel {panel}")
        axes.plot(held_out.index, held_out, ".--", color=colour)
    axes.plot([], [], color=charts.FAINT, label="training, smoothed")
    if not validation.empty:
        axes.plot([], [], ".--", color=charts.FAINT, label="held out")


def _draw_scores(axes: Axes, scores: pd.DataFrame) -> None:
    step = scores["step"]
    axes.fill_between(step, scores["low"], scores["high"], color=charts.BLUE, alpha=0.15, linewidth=0)
    axes.plot(step, scores["score"], ".-", color=charts.BLUE, label="score, with its 95 % interval")
    axes.plot(step, scores["followed"], ".--", color=charts.ORANGE, label="follows its texts")
    axes.plot(step, scores["kept"], ".--", color=charts.GREEN, label="keeps together")
    for name, colour in SHARES.items():
        if scores[name].any():
            axes.plot(step, scores[name], ".:", color=colour, label=f"{name}, share of grids")
