"""The figure of `bench.claim`: lines of the same values hide nothing."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib")

from plotted import SIZES, STEPS, made_up_claim

from bench.claim_figures import DRAWN, draw_figures
from pipeline import charts

LINES = charts.SERIES[: len(DRAWN)]

pytestmark = pytest.mark.usefixtures("drawn_plots")


def test_lines_of_the_same_values_are_all_seen(tmp_path: Path) -> None:
    draw_figures(made_up_claim(), SIZES, STEPS, tmp_path / "claim.png")
    with Image.open(tmp_path / "claim.png") as figure:
        pixels = np.asarray(figure.convert("RGB"), np.int16)
    by_size = pixels[: pixels.shape[0] * 7 // 10, : pixels.shape[1] // 3]  # the first chart, without the legend
    for colour in LINES:
        red, green, blue = bytes.fromhex(colour[1:])
        seen = (abs(by_size - np.array([red, green, blue])) < 24).all(axis=2)
        columns = seen.any(axis=0)
        assert seen.sum() > 200
        assert columns.sum() > 70, colour  # all along the line, not only at its markers
