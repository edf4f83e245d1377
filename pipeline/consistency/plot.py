"""`scores.png`: histograms of the run's scores and of the shuffled controls, with the thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline import files
from pipeline.consistency.belonging import FittedRule
from pipeline.consistency.similarity import ACROSS, WITHIN
from pipeline.consistency.thresholds import COPIES, Evidence, Threshold

STRANGERS, ONE = "strangers", "one stranger"
COLOURS = {
    "matched": "tab:blue",
    WITHIN: "tab:orange",
    ACROSS: "tab:red",
    COPIES: "tab:brown",
    STRANGERS: "tab:purple",
    ONE: "tab:pink",
}
BINS = 40
COLUMNS = 4


@dataclass(frozen=True)
class Chart:
    """Scores of the run and of the controls, with the threshold between them."""

    title: str
    series: Mapping[str, np.ndarray]
    limit: float
    ceiling: bool


def charts(evidence: Evidence | None, thresholds: Mapping[str, Threshold], found: FittedRule | None) -> list[Chart]:
    """One chart per measure, with the controls that its threshold must keep out."""
    result = []
    if found:
        series = {"matched": found.run, STRANGERS: found.strangers, ONE: found.one}
        result.append(Chart("belongs: each grid's worst panel", series, found.threshold, ceiling=False))
    for name, threshold in thresholds.items() if evidence else ():
        series = {"matched": evidence.right(name)} | evidence.wrong(name) if evidence else {}
        result.append(Chart(name, series, threshold.value, threshold.ceiling))
    return result


def write(drawn: Sequence[Chart], path: Path) -> None:
    """Draws the charts side by side into a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-len(drawn) // COLUMNS)
    figure = Figure(figsize=(4.5 * COLUMNS, 3.6 * rows))
    FigureCanvasAgg(figure)
    figure.subplots_adjust(left=0.04, right=0.99, bottom=0.05, top=0.94, wspace=0.2, hspace=0.25)
    axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for empty in axes[len(drawn) :]:
        empty.set_axis_off()
    for axis, chart in zip(axes, drawn, strict=False):
        everything = np.concatenate([*chart.series.values(), [chart.limit]])
        edges = np.linspace(everything.min() - 0.01, everything.max() + 0.01, BINS)
        for label, values in chart.series.items():
            shares = np.full(len(values), 1 / max(1, len(values)))
            kind = "stepfilled" if label == "matched" else "step"
            axis.hist(values, edges, weights=shares, histtype=kind, color=COLOURS[label], alpha=0.6, label=label)
        limit = f"{'ceiling' if chart.ceiling else 'floor'} {chart.limit:.3f}"
        axis.axvline(chart.limit, color="black", linestyle="--", label=limit)
        axis.set_title(chart.title)
        axis.legend(fontsize="x-small")
    axes[0].set_ylabel("share of scores")
    with files.replacing(path) as part:
        figure.savefig(part, format="png", dpi=90)
