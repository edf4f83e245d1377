"""Sharpness."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pixels.edges import sharpness


@given(st.integers(0, 2**32 - 1), st.integers(1, 600), st.integers(1, 600), st.floats(0.1, 20))
def test_sharpness_is_the_variance_of_the_laplacian_and_falls_with_blur(
    seed: int, width: int, height: int, blur: float
) -> None:
    sharp = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    soft = np.asarray(cv2.GaussianBlur(sharp, (0, 0), blur), np.uint8)
    for grey in (sharp, soft):
        edges = np.asarray(cv2.Laplacian(grey, cv2.CV_16S), np.float64)
        assert sharpness(grey) == pytest.approx(edges.var(), abs=1e-6)
    assert sharpness(soft) <= sharpness(sharp)


def test_an_even_picture_has_no_sharpness() -> None:
    assert sharpness(np.full((40, 60), 77, np.uint8)) == 0.0
