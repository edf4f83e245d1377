"""`scores.png`: histograms of the run's scores and of the shuffled controls, with the thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import charts
from pipeline.consistency import verdict
from pipeline.consistency.belonging import FittedRule
from pipeline.consistency.similarity import ACROSS, WITHIN
from pipeline.consistency.thresholds import COPIES, Estimate, Evidence, Threshold, share

MATCHED, STRANGERS, ONE = "the run's own", "strangers", "one stranger"
COLOURS = {
    MATCHED: charts.BLUE,
    WITHIN: charts.ORANGE,
    ACROSS: charts.VERMILLION,
    COPIES: charts.BLACK,
    STRANGERS: charts.GREEN,
    ONE: charts.PURPLE,
}
TITLE = (
    "Scores of the run's grids, and of controls that each threshold keeps out; beside a control, how many pass "
    "(95 % interval)"
)
COSINE = "cosine similarity, -1 to 1"
MEASURES = {
    "text": ("each panel against its own text", COSINE),
    "order": ("would the texts fit better in another order?", "gain of the best order, per panel"),
    "summary": ("the panels against the summary", COSINE),
    "least alike": ("the two panels that are least alike", COSINE),
    "most alike": ("the two panels that are most alike", COSINE),
    "texts alike": ("the two texts that are most alike", COSINE),
    "earlier grid": ("overlap with an earlier grid", COSINE),
}
"""By score, what its chart shows and what is on its axis."""
BINS = 40
COLUMNS = 3


@dataclass(frozen=True)
class Chart:
    """Scores of the run and of the controls, with the threshold between them."""

    title: str
    measure: str
    """What is on the axis, with its unit."""
    series: Mapping[str, np.ndarray]
    limit: float
    ceiling: bool
    passing: Mapping[str, Estimate]
    """Per control, the scores that pass although they are certain to be wrong, as they are told to the user."""


def make(evidence: Evidence | None, thresholds: Mapping[str, Threshold], found: FittedRule | None) -> list[Chart]:
    """One chart per measure, with the controls that its threshold must keep out."""
    result = []
    if found:
        series = {MATCHED: found.run, STRANGERS: found.strangers, ONE: found.one}
        passing = {name: verdict.passing(found, series[name]) for name in (STRANGERS, ONE)}
        title, measure = "belongs: each grid's worst panel", "log-odds of belonging"
        result.append(Chart(title, measure, series, found.threshold, ceiling=False, passing=passing))
    for name, threshold in thresholds.items() if evidence else ():
        series = {MATCHED: evidence.right(name)} | evidence.wrong(name) if evidence else {}
        what, measure = MEASURES[name]
        told = f"{name}: {what}"
        result.append(Chart(told, measure, series, threshold.value, threshold.ceiling, threshold.false_accepts))
    return result


def write(drawn: Sequence[Chart], path: Path) -> None:
    """Draws the charts side by side into a PNG file."""
    told = [charts.Chart(one.title, one.measure, "share of scores, 0 to 1") for one in drawn]
    plot = charts.Plot(TITLE, told, columns=COLUMNS, wide=5.6, high=2.4)
    for axes, chart in zip(plot.axes, drawn, strict=True):
        everything = np.concatenate([*chart.series.values(), [chart.limit]])
        edges = np.linspace(everything.min() - 0.01, everything.max() + 0.01, BINS)
        for name, values in chart.series.items():
            shares = np.full(len(values), 1 / max(1, len(values)))
            style: dict[str, Any] = {"histtype": "step", "linewidth": 1.5}
            if name == MATCHED:
                style = {"histtype": "stepfilled", "alpha": 0.6}
            passing = chart.passing.get(name)
            label = f"{name}: {share(passing.facts())}" if passing else name
            axes.hist(values, edges.tolist(), weights=shares, color=COLOURS[name], label=label, **style)
        limit = f"{'ceiling' if chart.ceiling else 'floor'} {chart.limit:.3f}"
        axes.axvline(chart.limit, color=charts.BLACK, linestyle="--", label=limit)
    plot.save(path, dpi=90)
