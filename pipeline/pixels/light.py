"""Light that the codes of HDR pictures stand for, stills and films alike (ITU-R BT.2100, SMPTE ST 2084)."""

from __future__ import annotations

import numpy as np

PQ, HLG = 16, 18
"""Transfer characteristics by their numbers in ITU-T H.273 (CICP)."""
WHITE = 203.0
"""Candela per square metre of diffuse white (ITU-R BT.2408), which becomes sRGB's white."""
HLG_PEAK = 1000.0
"""Of the screen that HLG pictures are meant for, in candela per square metre."""
M1, M2, C1, C2, C3 = 1305 / 8192, 2523 / 32, 107 / 128, 2413 / 128, 2392 / 128
"""Constants of PQ."""


def curve(transfer: int, codes: int) -> np.ndarray:
    """Of so many codes, the light that each stands for, float32: with PQ 1 is diffuse white, with HLG it is the scene's
    light from 0 to 1."""
    code = np.linspace(0, 1, codes)
    return (from_pq(code) / WHITE if transfer == PQ else _from_hlg(code)).astype(np.float32)


def from_pq(code: np.ndarray) -> np.ndarray:
    """Candela per square metre of PQ's codes, 0 to 1."""
    power = code ** (1 / M2)
    light: np.ndarray = 10_000 * (np.maximum(power - C1, 0) / (C2 - C3 * power)) ** (1 / M1)
    return light


def to_pq(light: np.ndarray) -> np.ndarray:
    """The inverse of `from_pq`."""
    power = (light / 10_000) ** M1
    code: np.ndarray = ((C1 + C2 * power) / (1 + C3 * power)) ** M2
    return code


def _from_hlg(code: np.ndarray) -> np.ndarray:
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)  # noqa: PLR2004


def of_screen(scene: np.ndarray) -> np.ndarray:
    """What a screen shows of a scene's light with HLG: a gamma of 1.2 on luminance; 1 is diffuse white.

    Args:
        scene: rows x columns x 3, 0 to 1, with the primaries of BT.2020.
    """
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593], np.float32)
    light: np.ndarray = scene * ((HLG_PEAK / WHITE) * np.maximum(luminance, 1e-6) ** 0.2)[..., None]
    return light
