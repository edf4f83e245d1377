"""Every plot that is written: it says what it shows, its legends cover nothing, and its colours can be told apart."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from plotted import SIZES, STEPS, logged, made_up_claim

from bench import claim_figures
from bench.house import OURS, ROOT
from iclora.evaluation import plot as evaluation_plot
from pipeline import charts
from pipeline.consistency import plot as scores_plot
from pipeline.consistency.thresholds import Estimate as share_of
from training.evaluation.statistics import Estimate
from training.monitoring import loss_plot

SCORED = (
    "step,score,low,high,followed,kept,copies,memorised,malformed\n0,.1,.05,.2,.5,.1,.3,.1,.1\n9,.8,.7,.9,.8,.7,0,0,0\n"
)


def losses(folder: Path) -> None:
    logged(folder, 20, 5)
    (folder / "evaluation.csv").write_text(SCORED, encoding="utf-8")
    loss_plot.draw_losses(folder, folder / "plot.png", 20, "the last step")


def scores(folder: Path) -> None:
    rng = np.random.default_rng(0)
    series = {label: rng.normal(place, 1, 50) for place, label in enumerate(scores_plot.COLOURS)}
    passing = {label: share_of(120, 300) for label in scores_plot.COLOURS if label != scores_plot.MATCHED}
    found = [
        scores_plot.Chart(f"{name}: {what}", measure, series, 0.5, ceiling=name == "order", passing=passing)
        for name, (what, measure) in scores_plot.MEASURES.items()
    ]
    scores_plot.write(found, folder / "plot.png")


def evaluation(folder: Path) -> None:
    one = Estimate(0.5, 0.4, 0.6, 0.05)
    names = ("base", "runs/storyboard/training/steps/storyboard-000200")
    results = [SimpleNamespace(candidate=name, score=one, followed=one, kept=one) for name in names]
    evaluation_plot.draw_results(results, folder / "plot.png")  # type: ignore[arg-type]


def claim(folder: Path) -> None:
    claim_figures.draw_figures(made_up_claim(), SIZES, STEPS, folder / "plot.png")


PLOTS = (losses, scores, evaluation, claim)


@pytest.fixture(scope="module", params=PLOTS, ids=lambda draw: draw.__name__)
def figure(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, savefig: Callable[..., None]
) -> Iterator[Figure]:
    """A plot as it is written."""
    found: list[Figure] = []

    def keep(one: Figure, path: Path, **options: object) -> None:
        found.append(one)
        savefig(one, path, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", keep)
        request.param(tmp_path_factory.mktemp("plot"))
        (drawn,) = found
        yield drawn


def test_a_plot_has_a_title_and_every_chart_a_title_and_named_axes(figure: Figure) -> None:
    assert len(figure.get_suptitle()) > 20
    assert figure.axes
    for axes in figure.axes:
        assert axes.get_title(loc="left") and axes.get_xlabel() and axes.get_ylabel()


def test_nothing_covers_anything_and_nothing_is_cut_off(figure: Figure) -> None:
    figure.canvas.draw()  # labels lie where the last drawing, of another resolution, put them
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    boxes = {"title": figure._suptitle.get_window_extent(renderer)}  # type: ignore[attr-defined]
    for number, axes in enumerate(figure.axes):
        parts = {"x": axes.xaxis.label, "y": axes.yaxis.label, "head": axes._left_title, "data": axes.patch}  # type: ignore[attr-defined]
        if legend := axes.get_legend():
            parts["legend"] = legend
        boxes |= {f"{name} {number}": part.get_window_extent(renderer) for name, part in parts.items()}
    wide, high = figure.bbox.size
    for name, box in boxes.items():
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= wide and box.y1 <= high, name
    pairs = combinations(boxes, 2)
    assert [pair for pair in pairs if boxes[pair[0]].padded(-1).overlaps(boxes[pair[1]].padded(-1))] == []


@pytest.mark.parametrize("figure", [scores], indirect=True, ids=["scores"])
def test_beside_a_control_stands_how_many_pass_as_the_report_has_it(figure: Figure) -> None:
    for axes in figure.axes:
        legend = axes.get_legend()
        assert legend is not None
        told = [text.get_text() for text in legend.get_texts()]
        assert told[0] == "the run's own" and "strangers: 120 of 300 (34.6 to 45.6 %)" in told


def colours(figure: Figure) -> Iterator[str]:
    for axes in figure.axes:
        for line in axes.lines:  # without a line, the markers are seen
            is_drawn = line.get_linestyle() != "None"
            yield to_hex(line.get_color() if is_drawn else line.get_markeredgecolor())
        yield from (to_hex(patch.get_facecolor()) for patch in axes.patches)


def test_colours_are_those_of_the_palette_and_noise_levels_go_from_dark_to_light(figure: Figure) -> None:
    found = set(colours(figure)) - {charts.FAINT}
    levels = [axes for axes in figure.axes if "noise level" in axes.get_title(loc="left")]
    light = [to_hex(line.get_color()) for axes in levels for line in axes.lines[1:]]
    assert found - set(light) <= set(charts.SERIES)
    assert sorted(light, key=luminance) == light


def luminance(colour: str) -> float:
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_only_one_place_makes_figures_and_no_other_names_a_colour_of_matplotlib() -> None:
    makers = set()
    for path in (file for folder in OURS if folder != "tests" for file in (ROOT / folder).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        makers |= {path.relative_to(ROOT).as_posix()} if re.search(r"\bFigure\(|\bpyplot\b", text) else set()
        assert '"tab:' not in text, path
    assert makers == {"pipeline/charts.py"}


@pytest.mark.parametrize("matrix", ["protanopia", "deuteranopia", "tritanopia"])
def test_the_colour_blind_tell_the_palette_apart(matrix: str) -> None:
    """As simulated by Machado, Oliveira and Fernandes (2009), at full severity."""
    seen = [simulate(colour, MACHADO[matrix]) for colour in charts.SERIES]
    least = min(float(np.linalg.norm(one - other)) for one, other in combinations(seen, 2))
    usual = [simulate(colour, MACHADO[matrix]) for colour in TABLEAU]
    worst = min(float(np.linalg.norm(one - other)) for one, other in combinations(usual, 2))
    assert least > 0.12 > worst or least > 1.5 * worst


MACHADO = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
TABLEAU = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2")
"""matplotlib's own, for comparison."""


def simulate(colour: str, matrix: list[list[float]]) -> np.ndarray:
    """A colour as linear light that somebody without one kind of cones sees."""
    parts = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return np.clip(np.array(matrix) @ linear, 0, 1)
