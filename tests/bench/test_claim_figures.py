"""The figure of `bench.claim`: lines of the same values hide nothing."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib")

from bench.claim_figures import BARS, DRAWN, WAYS, draw_figures
from training.evaluation.statistics import Estimate

SIZES, STEPS = (20, 40, 80), 400
LINES = ("#1f77b4", "#ff7f0e", "#2ca02c")


def test_lines_of_the_same_values_are_all_seen(tmp_path: Path) -> None:
    figures = dict.fromkeys((*DRAWN, *(looks for _, looks in BARS)), Estimate(0.78, 0.7, 0.85, 0.04))
    names = ["base", *(f"{size} grids, {STEPS} steps" for size in SIZES)]
    names += [f"{SIZES[-1]} grids, {step} steps" for step in (100, 200, 300)]
    names += [f"{words}: {way}" for words, _ in BARS for way in WAYS]
    draw_figures(dict.fromkeys(names, figures), SIZES, STEPS, tmp_path / "claim.png")
    with Image.open(tmp_path / "claim.png") as figure:
        pixels = np.asarray(figure.convert("RGB"), np.int16)
    by_size = pixels[: pixels.shape[0] * 7 // 10, : pixels.shape[1] // 3]  # the first chart, without the legend
    for colour in LINES:
        red, green, blue = bytes.fromhex(colour[1:])
        seen = (abs(by_size - np.array([red, green, blue])) < 24).all(axis=2)
        columns = seen.any(axis=0)
        assert seen.sum() > 200
        assert columns.sum() > 70, colour  # all along the line, not only at its markers
