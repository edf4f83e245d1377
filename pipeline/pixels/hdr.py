"""HDR pictures (PQ and HLG) toned down to sRGB."""

from __future__ import annotations

import numpy as np
from PIL import Image

from pipeline.pixels import light, profiles

KNEE = 0.75
"""Linear value up to which nothing changes; lights above it are compressed where any are brighter than paper white."""
ROWS = 256
"""Rows that are converted at once: in 32 bits a whole picture would take four times its memory."""


def to_srgb(image: Image.Image, primaries: int, transfer: int) -> Image.Image:
    """The picture in sRGB's colours and tones.

    What is no brighter than paper white keeps its tone in pictures without highlights; highlights are compressed by
    one curve for all three colours of a pixel, so that hues stay.

    Args:
        image: RGB or RGBA with 8 bits; alpha is kept.
        primaries, transfer: their numbers in H.273; transfer is PQ or HLG.
    """
    codes = light.curve(transfer, 256)
    to_709 = (
        np.linalg.inv(profiles.to_xyz(profiles.SRGB, adapted=False))
        @ profiles.to_xyz(profiles.BY_NUMBER.get(primaries, profiles.BY_NUMBER[9]), adapted=False)
    ).astype(np.float32)
    pixels = np.asarray(image)
    step = max(1, int((pixels.shape[0] * pixels.shape[1] / 250_000) ** 0.5))
    sample = _light(pixels[::step, ::step, :3], codes, transfer, to_709)
    peak = max(1.0, float(np.percentile(sample.max(axis=-1), 99.9)))
    made = np.empty_like(pixels)
    for top in range(0, len(pixels), ROWS):
        strip = pixels[top : top + ROWS]
        made[top : top + ROWS] = strip
        made[top : top + ROWS, :, :3] = _encoded(_compressed(_light(strip[..., :3], codes, transfer, to_709), peak))
    return Image.fromarray(made)


def _light(codes: np.ndarray, curve: np.ndarray, transfer: int, to_709: np.ndarray) -> np.ndarray:
    """Linear light with sRGB's primaries, 1 for paper white; rows x columns x 3."""
    linear = curve[codes]
    if transfer == light.HLG:
        linear = light.of_screen(linear)
    found: np.ndarray = np.maximum(linear @ to_709.T, 0)
    return found


def _compressed(shown: np.ndarray, peak: float) -> np.ndarray:
    """Light from KNEE to the peak brought below 1 by a hyperbola that leaves the knee with slope 1 and ends at 1."""
    if peak <= 1:
        return shown
    most = np.clip(shown.max(axis=-1, keepdims=True), 1e-6, peak)
    over, room, reach = np.maximum(most - KNEE, 0), 1 - KNEE, peak - KNEE
    toned = np.minimum(most, KNEE) + over / (1 + over * (1 / room - 1 / reach))
    found: np.ndarray = shown * (toned / most)
    return found


def _encoded(shown: np.ndarray) -> np.ndarray:
    """sRGB's codes, 0 to 255."""
    shown = np.clip(shown, 0, 1)
    codes = np.where(shown <= 0.0031308, 12.92 * shown, 1.055 * shown ** (1 / 2.4) - 0.055)  # noqa: PLR2004
    found: np.ndarray = np.round(255 * codes).astype(np.uint8)
    return found
