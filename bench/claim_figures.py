"""Charts of `bench.claim`: figures of `iclora evaluate` as curves and bars, and sample pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

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
WAYS = ("inpainting, base", "inpainting, joint LoRA", "conditional LoRA")
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


def draw_figures(known: Known, sizes: Sequence[int], steps: int, path: Path) -> None:
    """Plots figures by set size, by steps for the largest set, and with a given panel; with 95 % intervals."""
    figure = Figure(figsize=(15, 5.2))
    FigureCanvasAgg(figure)
    figure.subplots_adjust(left=0.05, right=0.99, bottom=0.26, top=0.92, wspace=0.22)
    by_size, by_step, with_given = figure.subplots(1, 3)
    sized = {0: "base"} | {size: f"{size} grids, {steps} steps" for size in sizes}
    quarters = range(steps // 4, steps + 1, steps // 4)
    stepped = {0: "base"} | {step: f"{sizes[-1]} grids, {step} steps" for step in quarters}
    _draw_lines(by_size, known, sized)
    _draw_lines(by_step, known, stepped)
    by_size.set(xlabel="training grids (0: base)", ylabel="%", title=f"{steps} steps")
    by_step.set(xlabel="steps", title=f"{sizes[-1]} training grids")
    figure.legend(*by_size.get_legend_handles_labels(), loc="lower left", bbox_to_anchor=(0.05, 0.0), ncols=2)
    for place, way in enumerate(WAYS):
        heights, errors = _points([known[f"{words}: {way}"][looks] for words, looks in BARS])
        at = [number + 0.27 * (place - 1) for number in range(len(BARS))]
        with_given.bar(at, heights, 0.25, yerr=errors, capsize=4, label=way)
    with_given.set_xticks(range(len(BARS)), list(BARS.values()))
    with_given.set(title="first panel given: kept in the other panels")
    figure.legend(*with_given.get_legend_handles_labels(), loc="lower right", bbox_to_anchor=(0.99, 0.0), ncols=3)
    for chart in (by_size, by_step, with_given):
        chart.set_ylim(-2, 103)
        chart.grid(axis="y", alpha=0.3)
    figure.savefig(path, format="png", dpi=90)


def _draw_lines(chart: Axes, known: Known, conditions: Mapping[int, str]) -> None:
    """One line per figure, over the conditions by their place on the axis; lines of the same values are all seen."""
    apart = APART * max(conditions)
    for number, (key, words) in enumerate(DRAWN.items()):
        heights, errors = _points([known[name][key] for name in conditions.values()])
        at = [place + apart * (number - (len(DRAWN) - 1) / 2) for place in conditions]
        style = {"marker": MARKERS[number], "linestyle": DASHES[number], "linewidth": WIDTHS[number]}
        chart.errorbar(at, heights, errors, label=words, capsize=3, markersize=6, elinewidth=1.2, **style)


def _points(estimates: Sequence[Estimate]) -> tuple[list[float], list[list[float]]]:
    """Figures in per cent, and the interval's extent below and above each."""
    heights = [100 * one.value for one in estimates]
    ends = [one.interval or (one.value, one.value) for one in estimates]
    below = [max(0.0, height - 100 * low) for height, (low, _) in zip(heights, ends, strict=True)]
    above = [max(0.0, 100 * high - height) for height, (_, high) in zip(heights, ends, strict=True)]
    return heights, [below, above]


def draw_pages(captions: Sequence[str], drawn: Mapping[str, Sequence[Image.Image]], path: Path) -> None:
    """Plots pages with the same captions and noise, one row per named model."""
    figure = Figure(figsize=(2.5 * len(captions), 4.3 * len(drawn)), layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(drawn), len(captions), squeeze=False)
    for row, (name, pages) in zip(rows, drawn.items(), strict=True):
        row[0].set_ylabel(name, fontsize="x-large")
        for chart, page in zip(row, pages, strict=True):
            chart.imshow(page, interpolation="lanczos")
            chart.set(xticks=[], yticks=[])
            chart.spines[:].set_visible(False)
    for chart, caption in zip(rows[-1], captions, strict=True):
        chart.set_xlabel(fill(caption.replace("[MOVIE-SHOTS] ", ""), 34), fontsize="small", loc="left")
    figure.savefig(path, format="png", dpi=90)
