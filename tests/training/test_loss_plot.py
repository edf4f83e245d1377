"""The plot of a training's losses, for logs of any length."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image
from plotted import logged

from pipeline.errors import BadInput
from training.monitoring import loss_plot

pytestmark = pytest.mark.usefixtures("drawn_plots")


def opened(path: Path) -> None:
    with Image.open(path) as picture:
        assert picture.format == "PNG" and picture.width > 1000
        picture.load()
    assert not list(path.parent.glob("*.part"))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved."""
    found: list[Figure] = []

    def keep(figure: Figure, path: Path, **_: object) -> None:
        found.append(figure)
        path.touch()

    monkeypatch.setattr(Figure, "savefig", keep)
    return found


@pytest.mark.parametrize(
    ("steps", "every", "learnt"),
    [(200, 50, (1, 2, 3)), (200, 50, (2, 3)), (200, 0, (1, 2, 3)), (1, 1, (1, 2, 3)), (1, 0, (1,))],
)
def test_losses_are_plotted_with_and_without_held_out_grids_and_for_any_number_of_steps(
    steps: int, every: int, learnt: tuple[int, ...], tmp_path: Path
) -> None:
    logged(tmp_path, steps, every, learnt)
    loss_plot.draw_losses(tmp_path, tmp_path / "losses.png", 3, "the last step")
    opened(tmp_path / "losses.png")


def test_five_thousand_steps_are_plotted(tmp_path: Path) -> None:
    logged(tmp_path, 1)
    with (tmp_path / "log.csv").open("a") as log:
        log.writelines(f"{step},{0.4 + 1 / step},0.4,,0.5,0.0001,1,0.1\n" for step in range(2, 5_001))
    loss_plot.draw_losses(tmp_path, tmp_path / "losses.png", 3, "the last step")
    opened(tmp_path / "losses.png")


def test_a_validation_that_is_not_a_number_is_left_out(tmp_path: Path) -> None:
    logged(tmp_path, 10, 5)
    with (tmp_path / "validation.csv").open("a") as validation:
        validation.write("10,0.95,1,nan\n")
    loss_plot.draw_losses(tmp_path, tmp_path / "losses.png", 3, "the last step")
    opened(tmp_path / "losses.png")


def test_the_plot_names_the_step_whose_weights_the_lora_has(tmp_path: Path, drawn: list[Figure]) -> None:
    logged(tmp_path, 40, 10)
    loss_plot.draw_losses(tmp_path, tmp_path / "losses.png", 30, "the lowest held-out loss")
    (figure,) = drawn
    assert "step 30, the lowest held-out loss" in figure.get_suptitle()
    told = [text.get_text() for text in figure.legends or figure.axes[0].get_legend().get_texts()]
    assert any(re.match(r"lowest held-out: \d\.\d{4} at step 40$", label) for label in told)
    for axes in figure.axes:
        assert [30, 30] in [list(line.get_xdata()) for line in axes.lines if line.get_linestyle() == ":"]


def test_an_older_plot_is_replaced_and_a_missing_log_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"log.csv does not exist"):
        loss_plot.draw_losses(tmp_path, tmp_path / "losses.png", 3, "the last step")
    logged(tmp_path, 3)
    (tmp_path / "losses.png").write_bytes(b"old")
    loss_plot.draw_losses(tmp_path, tmp_path / "losses.png", 3, "the last step")
    opened(tmp_path / "losses.png")


def test_smoothing_preserves_the_level_and_reduces_scatter() -> None:
    assert loss_plot.smoothed(pd.Series([0.5] * 100)).tolist() == pytest.approx([0.5] * 100)
    scattered = pd.Series(np.random.default_rng(0).normal(0.5, 0.1, 5_000))
    assert loss_plot.smoothed(scattered).std() < 0.1 / 10
    assert loss_plot.smoothed(pd.Series([0.7])).tolist() == [0.7]
