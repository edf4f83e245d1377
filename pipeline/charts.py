"""Plots: the palette of all of them, and figures whose charts say what they show, with legends below the data.

The colours are those of Okabe and Ito, "Color Universal Design" (2008), which people with any kind of colour blindness
tell apart; their yellow is left out, since it can't be seen on white.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import files

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLACK, BLUE, ORANGE, GREEN = "#000000", "#0072b2", "#e69f00", "#009e73"
PURPLE, SKY, VERMILLION = "#cc79a7", "#56b4e9", "#d55e00"
BASE, LORA, HELD_OUT = BLACK, BLUE, VERMILLION
"""The base model; the LoRA, and what it is trained on; what it never sees."""
SERIES = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, BLACK)
"""Of what has no meaning of its own, such as panels, in this order."""
GRID, FAINT = "#e4e7ee", "#6b7385"

SMALL = 8.5
"""Font size in points, of legends and ticks."""
TITLE, HEAD, AXIS, LINE, RIGHT = 0.5, 0.35, 0.62, 0.19, 0.25
"""Inches: the figure's title, a chart's own, its axis with labels, a line of its legend, the margin on its right."""
CHARACTER, SIGN = 0.066, 0.5
"""Inches: of a legend's text, and of the sign before it."""


@dataclass(frozen=True)
class Chart:
    """What a chart says about itself."""

    title: str
    x: str
    """What the horizontal axis has, with its unit."""
    y: str


class Plot:
    """A figure of charts side by side, in rows.

    Args:
        title: what all of it shows.
        columns: charts per row, at most.
        wide: inches of a chart with its axis.
        high: inches of a chart without its title, axis and legend.
        left: inches for the labels of a vertical axis.
    """

    def __init__(
        self,
        title: str,
        charts: Sequence[Chart],
        *,
        columns: int = 4,
        wide: float = 4.8,
        high: float = 3.0,
        left: float = 0.75,
    ) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self._columns, self._wide, self._high, self._left = min(columns, len(charts)), wide, high, left
        self._figure = Figure()
        FigureCanvasAgg(self._figure)
        self._title = title
        self.axes: list[Axes] = [self._figure.add_axes((0, 0, 1, 1), label=str(at)) for at in range(len(charts))]
        for axes, chart in zip(self.axes, charts, strict=True):
            axes.set_title(chart.title, fontsize="medium", loc="left")
            axes.set_xlabel(chart.x, fontsize=SMALL)
            axes.set_ylabel(chart.y, fontsize=SMALL)
            axes.tick_params(labelsize=SMALL)
            axes.set_prop_cycle(color=SERIES)
            axes.set_axisbelow(True)
            axes.grid(color=GRID)
            axes.spines[["top", "right"]].set_visible(False)

    def save(self, path: Path, dpi: int = 110) -> None:
        """Writes a PNG, whole or not at all, with a legend below each chart that has labels."""
        entries = [axes.get_legend_handles_labels() for axes in self.axes]
        across = [self._entries_across(labels) for _, labels in entries]
        lines = max(ceil(len(labels) / many) for (_, labels), many in zip(entries, across, strict=True))
        axis = AXIS + LINE * max(map(_further_lines, self.axes))
        rows, below = ceil(len(self.axes) / self._columns), axis + LINE * lines
        width, row = self._wide * self._columns, HEAD + self._high + below
        height = TITLE + row * rows
        self._figure.set_size_inches(width, height)
        self._figure.suptitle(self._title, x=0.15 / width, y=1 - 0.12 / height, ha="left", va="top", fontsize="large")
        for at, (axes, (handles, labels), many) in enumerate(zip(self.axes, entries, across, strict=True)):
            left, top = at % self._columns * self._wide + self._left, TITLE + at // self._columns * row + HEAD
            inner = self._wide - self._left - RIGHT
            axes.set_position(
                (left / width, 1 - (top + self._high) / height, inner / width, self._high / height)
            )  # a layout engine would draw everything once more
            if labels:
                axes.legend(
                    handles, labels, loc="upper left", bbox_to_anchor=(0, -(axis - 0.1) / self._high), ncols=many,
                    fontsize=SMALL, frameon=False, borderaxespad=0, borderpad=0, labelspacing=0.3, columnspacing=1,
                )  # fmt: skip
        with files.replacing(path) as part:
            self._figure.savefig(part, format="png", dpi=dpi)

    def _entries_across(self, labels: Sequence[str]) -> int:
        """How many entries of a legend fit side by side below a chart."""
        longest = max(map(len, labels), default=1)
        return max(1, min(len(labels), int((self._wide - self._left) / (SIGN + CHARACTER * longest))))


def _further_lines(axes: Axes) -> int:
    """Lines of the horizontal axis's ticks after the first."""
    return max((label.get_text().count("\n") for label in axes.get_xticklabels()), default=0)
