"""HDR pictures (PQ and HLG) toned down to sRGB."""

from __future__ import annotations

import numpy as np
from PIL import Image

from pipeline.pixels import profiles

PQ, HLG = 16, 18
"""Transfer characteristics by their numbers in ITU-T H.273 (CICP)."""
WHITE = 203.0
"""Candela per square metre of paper white (ITU-R BT.2408), which becomes sRGB's white."""
PEAK = 1000.0
"""Of the screen that HLG pictures are meant for, in candela per square metre (ITU-R BT.2100)."""
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
    light = _linear(transfer)
    to_709 = (
        np.linalg.inv(profiles.to_xyz(profiles.SRGB, adapted=False))
        @ profiles.to_xyz(profiles.BY_NUMBER.get(primaries, profiles.BY_NUMBER[9]), adapted=False)
    ).astype(np.float32)
    pixels = np.asarray(image)
    step = max(1, int((pixels.shape[0] * pixels.shape[1] / 250_000) ** 0.5))
    sample = _light(pixels[::step, ::step, :3], light, transfer, to_709)
    peak = max(1.0, float(np.percentile(sample.max(axis=-1), 99.9)))
    made = np.empty_like(pixels)
    for top in range(0, len(pixels), ROWS):
        strip = pixels[top : top + ROWS]
        made[top : top + ROWS] = strip
        made[top : top + ROWS, :, :3] = _encoded(_compressed(_light(strip[..., :3], light, transfer, to_709), peak))
    return Image.fromarray(made)


def _linear(transfer: int) -> np.ndarray:
    """Light (1 is paper white) of each of the 256 codes of PQ; of HLG, the scene's light from 0 to 1."""
    code = np.arange(256, dtype=np.float64) / 255
    if transfer == PQ:  # SMPTE ST 2084
        m1, m2, c1, c2, c3 = 1305 / 8192, 2523 / 32, 107 / 128, 2413 / 128, 2392 / 128
        power = code ** (1 / m2)
        found = 10_000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1) / WHITE
    else:  # ITU-R BT.2100, the inverse of HLG's curve
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        found = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)  # noqa: PLR2004
    return found.astype(np.float32)


def _light(codes: np.ndarray, light: np.ndarray, transfer: int, to_709: np.ndarray) -> np.ndarray:
    """Linear light with sRGB's primaries, 1 for paper white; rows x columns x 3."""
    linear = light[codes]
    if transfer == HLG:  # what a screen shows of the scene: BT.2100's system gamma of 1.2 on luminance
        luminance = linear @ np.array([0.2627, 0.6780, 0.0593], np.float32)
        linear = linear * (PEAK / WHITE * np.maximum(luminance, 1e-6) ** 0.2)[..., None]
    found: np.ndarray = np.maximum(linear @ to_709.T, 0)
    return found


def _compressed(light: np.ndarray, peak: float) -> np.ndarray:
    """Light from KNEE to the peak brought below 1 by a hyperbola that leaves the knee with slope 1 and ends at 1."""
    if peak <= 1:
        return light
    most = np.clip(light.max(axis=-1, keepdims=True), 1e-6, peak)
    over, room, reach = np.maximum(most - KNEE, 0), 1 - KNEE, peak - KNEE
    toned = np.minimum(most, KNEE) + over / (1 + over * (1 / room - 1 / reach))
    found: np.ndarray = light * (toned / most)
    return found


def _encoded(light: np.ndarray) -> np.ndarray:
    """sRGB's codes, 0 to 255."""
    light = np.clip(light, 0, 1)
    codes = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)  # noqa: PLR2004
    found: np.ndarray = np.round(255 * codes).astype(np.uint8)
    return found
