"""The figures of an evaluation as a chart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import charts
from pipeline.charts import Chart, Plot
from training.evaluation.statistics import Estimate

if TYPE_CHECKING:
    from iclora.evaluation.results import Result

SHOWN = {
    "score": ("score", "D", charts.BLUE),
    "followed": ("follows its texts", "o", charts.ORANGE),
    "kept": ("keeps together", "s", charts.GREEN),
}
"""The figures that are drawn, with labels, markers and colours."""
APART = 0.2
"""Between the marks of one candidate; candidates are 1 apart."""
LONGEST = 40
"""Characters of a candidate's name; of a path, the end tells more."""
WIDTH, CHARACTER = 9.0, 0.08
"""Inches; of the chart, and of a character of a name."""
PER_RESULT = 0.55
"""Inches of height."""
TITLE = "What base and LoRAs draw for the same prompts, with 95 % intervals"


def draw_results(results: Sequence[Result], path: Path) -> None:
    """Draws score, following and keeping together of every candidate with their 95 % intervals."""
    names = [_short(one.candidate) for one in results]
    chart = Chart("score and its two parts", "0: as shuffled real grids, 1: as real ones", "candidate")
    left = 0.6 + CHARACTER * max(map(len, names))
    plot = Plot(TITLE, [chart], wide=WIDTH, high=PER_RESULT * len(results), left=left)
    (axes,) = plot.axes
    for number, (key, (label, marker, colour)) in enumerate(SHOWN.items()):
        estimates: list[Estimate] = [getattr(one, key) for one in results]
        values = [one.value for one in estimates]
        ends = [one.interval or (one.value, one.value) for one in estimates]
        places = [place + APART * (number - 1) for place in range(len(results))]
        axes.hlines(places, [low for low, _ in ends], [high for _, high in ends], color=colour, linewidth=2)
        axes.plot(values, places, marker, color=colour, label=label)
    axes.set_yticks(range(len(results)), names)
    axes.set_ylim(len(results) - 0.5, -0.5)
    for end in (0, 1):
        axes.axvline(end, color=charts.FAINT, linestyle=":", linewidth=1.5)
    axes.grid(visible=False, axis="y")
    plot.save(path, dpi=100)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"...{name[3 - LONGEST :]}"
