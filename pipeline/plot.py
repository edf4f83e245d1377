"""`scores.png`: how the scores of a run's grids lie beside those of the shuffled controls, and the thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline.similarity import ACROSS, PANELS, WITHIN, Measures
from pipeline.thresholds import COPIES, RULES, Threshold

COLOURS = {WITHIN: "tab:orange", ACROSS: "tab:red", PANELS: "tab:purple", COPIES: "tab:brown"}
BINS = 40


def write(
    run: Measures,
    controls: Mapping[str, Measures],
    copies: np.ndarray,
    thresholds: Mapping[str, Threshold],
    path: Path,
) -> None:
    """Draws one small chart a measure; of the controls those that its threshold must tell apart."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = 4
    rows = -(-len(thresholds) // columns)
    figure = Figure(figsize=(4.5 * columns, 3.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    charts = figure.subplots(rows, columns, squeeze=False).ravel()
    for chart in charts[len(thresholds) :]:
        chart.set_axis_off()
    for chart, (name, threshold) in zip(charts, thresholds.items(), strict=False):
        wrong = {control: controls[control][name] for control in RULES[name].controls if control in controls}
        wrong |= {COPIES: copies} if COPIES in RULES[name].controls else {}
        series = {"matched": run[name]} | wrong
        clean = {label: values[~np.isnan(values)] for label, values in series.items()}
        everything = np.concatenate([*clean.values(), [threshold.value]])
        edges = np.linspace(everything.min() - 0.01, everything.max() + 0.01, BINS)
        for label, values in clean.items():
            if len(values):
                colour = COLOURS.get(label, "tab:blue")
                weights = np.full(len(values), 1 / len(values))
                filled = "stepfilled" if label == "matched" else "step"
                chart.hist(values, edges, weights=weights, histtype=filled, color=colour, alpha=0.6, label=label)
        word = "ceiling" if threshold.ceiling else "floor"
        chart.axvline(threshold.value, color="black", linestyle="--", label=f"{word} {threshold.value:.3f}")
        chart.set_title(name)
        chart.legend(fontsize="x-small")
    charts[0].set_ylabel("share of scores")
    part = path.with_suffix(".part")
    figure.savefig(part, format="png", dpi=90)
    part.replace(path)
