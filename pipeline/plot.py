"""`scores.png`: how the scores of a run's grids lie beside those of the shuffled controls, and the thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline.similarity import ACROSS, PANELS, WITHIN
from pipeline.thresholds import COPIES, Evidence, Threshold

COLOURS = {"matched": "tab:blue", WITHIN: "tab:orange", ACROSS: "tab:red", PANELS: "tab:purple", COPIES: "tab:brown"}
BINS = 40
COLUMNS = 4


def write(evidence: Evidence, thresholds: Mapping[str, Threshold], path: Path) -> None:
    """Draws one small chart a measure; of the controls those that its threshold must tell apart."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-len(thresholds) // COLUMNS)
    figure = Figure(figsize=(4.5 * COLUMNS, 3.6 * rows))
    FigureCanvasAgg(figure)
    figure.subplots_adjust(left=0.04, right=0.99, bottom=0.05, top=0.94, wspace=0.2, hspace=0.25)
    charts = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for chart in charts[len(thresholds) :]:
        chart.set_axis_off()
    for chart, (name, threshold) in zip(charts, thresholds.items(), strict=False):
        series = {"matched": evidence.right(name)} | evidence.wrong(name)
        everything = np.concatenate([*series.values(), [threshold.value]])
        edges = np.linspace(everything.min() - 0.01, everything.max() + 0.01, BINS)
        for label, values in series.items():
            shares = np.full(len(values), 1 / max(1, len(values)))
            kind = "stepfilled" if label == "matched" else "step"
            chart.hist(values, edges, weights=shares, histtype=kind, color=COLOURS[label], alpha=0.6, label=label)
        limit = f"{'ceiling' if threshold.ceiling else 'floor'} {threshold.value:.3f}"
        chart.axvline(threshold.value, color="black", linestyle="--", label=limit)
        chart.set_title(name)
        chart.legend(fontsize="x-small")
    charts[0].set_ylabel("share of scores")
    part = path.with_suffix(".part")
    figure.savefig(part, format="png", dpi=90)
    part.replace(path)
