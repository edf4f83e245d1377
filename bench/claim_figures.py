"""Charts of `bench.claim`: figures of `iclora evaluate` as curves and bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from pipeline import charts
from pipeline.charts import Chart, Plot
from training.evaluation.statistics import Estimate

Known = Mapping[str, Mapping[str, Estimate]]
"""Figures by condition."""
DRAWN = {
    "described": "the described character in all panels",
    "follows": "places and actions as described",
    "score": "score: 100 as real grids, 0 as shuffled ones",
}
"""The figures for pages without given panels, and their labels."""
DESCRIBED, ALONE = "given and described", "given only"
"""With a given panel: whether the summary describes its character too."""
WAYS = {"inpainting, base": charts.BASE, "inpainting, joint LoRA": charts.SKY, "conditional LoRA": charts.LORA}
"""With a given panel, and colours."""
MARKERS, DASHES, WIDTHS = "osD", ("-", "--", "-."), (5.6, 3.4, 1.6)
"""Of the lines in the order of drawing: where two have the same values, the upper one is thinner and has gaps."""
APART = 0.018
"""Distance between the markers of neighbouring lines, as a share of the axis."""
BARS = {
    (DESCRIBED, "both"): "kind and colour,\ndescribed too",
    (ALONE, "colour"): "colour, from the\npicture alone",
    (ALONE, "kind"): "kind, from the\npicture alone",
}
"""What the judge looks at with a given panel, and labels."""


TITLE = "How much a LoRA learns, by grids and by steps, and what is kept of a given panel, with 95 % intervals"


def draw_figures(known: Known, sizes: Sequence[int], steps: int, path: Path) -> None:
    """Plots figures by set size, by steps for the largest set, and with a given panel; with 95 % intervals."""
    told = (
        Chart(f"by training grids, {steps} steps", "training grids (0: the base)", "share of pages, or score, in %"),
        Chart(f"by steps, {sizes[-1]} training grids", "steps (0: the base)", "share of pages, or score, in %"),
        Chart("first panel given: kept in the others", "what is kept, and how it is known", "share of panels in %"),
    )
    plot = Plot(TITLE, told, wide=5.2, high=3.6)
    by_size, by_step, with_given = plot.axes
    sized = {0: "base"} | {size: f"{size} grids, {steps} steps" for size in sizes}
    quarters = range(steps // 4, steps + 1, steps // 4)
    stepped = {0: "base"} | {step: f"{sizes[-1]} grids, {step} steps" for step in quarters}
    _draw_lines(by_size, known, sized)
    _draw_lines(by_step, known, stepped)
    for place, (way, colour) in enumerate(WAYS.items()):
        heights, errors = _points([known[f"{words}: {way}"][looks] for words, looks in BARS])
        at = [number + 0.27 * (place - 1) for number in range(len(BARS))]
        with_given.bar(at, heights, 0.25, yerr=errors, capsize=4, color=colour, ecolor=charts.FAINT, label=way)
    with_given.set_xticks(range(len(BARS)), list(BARS.values()))
    for axes in plot.axes:
        axes.set_ylim(-2, 103)
        axes.grid(visible=False, axis="x")
    plot.save(path, dpi=90)


def _draw_lines(axes: Axes, known: Known, conditions: Mapping[int, str]) -> None:
    """One line per figure, over the conditions by their place on the axis; lines of the same values are all seen."""
    apart = APART * max(conditions)
    for number, (key, words) in enumerate(DRAWN.items()):
        heights, errors = _points([known[name][key] for name in conditions.values()])
        at = [place + apart * (number - (len(DRAWN) - 1) / 2) for place in conditions]
        style: dict[str, Any] = {"color": charts.SERIES[number], "linewidth": WIDTHS[number]}
        style |= {"marker": MARKERS[number], "linestyle": DASHES[number]}
        axes.errorbar(at, heights, errors, label=words, capsize=3, markersize=6, elinewidth=1.2, **style)


def _points(estimates: Sequence[Estimate]) -> tuple[list[float], list[list[float]]]:
    """Figures in per cent, and the interval's extent below and above each."""
    heights = [100 * one.value for one in estimates]
    ends = [one.interval or (one.value, one.value) for one in estimates]
    below = [max(0.0, height - 100 * low) for height, (low, _) in zip(heights, ends, strict=True)]
    above = [max(0.0, 100 * high - height) for height, (_, high) in zip(heights, ends, strict=True)]
    return heights, [below, above]
