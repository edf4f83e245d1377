"""The figures of an evaluation as a chart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import files
from training.evaluation.statistics import Estimate

if TYPE_CHECKING:
    from iclora.evaluation.results import Result

SHOWN = {"score": "score", "followed": "follows its texts", "kept": "keeps together"}
"""The figures that are drawn, and their labels."""
MARKERS = "Dos"
APART = 0.2
"""Between the marks of one candidate; candidates are 1 apart."""
LONGEST = 40
"""Characters of a candidate's name; of a path, the end tells more."""
WIDTH, CHARACTER = 9.0, 0.09
"""Inches; of the chart, and of a character of a name."""
PER_RESULT, ABOVE, BELOW = 0.55, 0.4, 0.6
"""Inches of height."""


def draw_results(results: Sequence[Result], path: Path) -> None:
    """Draws score, following and keeping together of every candidate with their 95 % intervals."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names, height = [_short(one.candidate) for one in results], ABOVE + PER_RESULT * len(results) + BELOW
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    chart = figure.subplots()
    # A layout engine would draw everything once more.
    left = (0.3 + CHARACTER * max(map(len, names))) / WIDTH
    figure.subplots_adjust(left=left, right=0.97, bottom=BELOW / height, top=1 - ABOVE / height)
    for number, (key, label) in enumerate(SHOWN.items()):
        estimates: list[Estimate] = [getattr(one, key) for one in results]
        values = [one.value for one in estimates]
        ends = [one.interval or (one.value, one.value) for one in estimates]
        places = [place + APART * (number - 1) for place in range(len(results))]
        chart.hlines(places, [low for low, _ in ends], [high for _, high in ends], color=f"C{number}", linewidth=2)
        chart.plot(values, places, MARKERS[number], color=f"C{number}", label=label)
    chart.set_yticks(range(len(results)), names)
    chart.set_ylim(len(results) - 0.5, -0.5)
    for end in (0, 1):
        chart.axvline(end, color="#6b7385", linestyle=":", linewidth=1.5)
    chart.set_xlabel("0: as shuffled real grids, 1: as real ones; lines are 95 % intervals")
    chart.grid(axis="x", color="#e4e7ee")
    chart.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="upper right", ncols=len(SHOWN), frameon=False)
    with files.replacing(path) as part:
        figure.savefig(part, format="png", dpi=100)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"...{name[3 - LONGEST :]}"
