"""ICC profiles made from primaries and a tone curve, for pictures that say their colours in another way."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cache

import numpy as np

Primaries = tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]
"""Chromaticities x and y of white, red, green and blue."""

D50 = (0.9642, 1.0, 0.8249)
"""XYZ of the white of ICC's connection space."""
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
"""From XYZ to the responses in which ICC adapts one white to another (ICC.1:2022, annex E)."""
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
"""Parameters g, a, b, c, d of sRGB's tone curve (IEC 61966-2-1)."""

D65 = (0.3127, 0.3290)
SRGB: Primaries = (D65, (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
ADOBE: Primaries = (D65, (0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
BY_NUMBER: dict[int, Primaries] = {
    1: SRGB,  # BT.709
    4: ((0.310, 0.316), (0.67, 0.33), (0.21, 0.71), (0.14, 0.08)),  # BT.470 M
    5: (D65, (0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),  # BT.601, 625 lines
    6: (D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),  # BT.601, 525 lines
    7: (D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    8: ((0.310, 0.316), (0.681, 0.319), (0.243, 0.692), (0.145, 0.049)),  # film
    9: (D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),  # BT.2020
    11: ((0.314, 0.351), (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # DCI-P3
    12: (D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # Display P3
    22: (D65, (0.630, 0.340), (0.295, 0.605), (0.155, 0.077)),  # EBU 3213
}
"""By their numbers in ITU-T H.273 (CICP)."""
GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
"""Tone curves of H.273 that are plain powers. All others but PQ and HLG are read as sRGB's, as browsers do."""


@cache
def made(primaries: Primaries, gamma: float | None = None) -> bytes:
    """A matrix profile of version 4.

    Args:
        gamma: a linear value is the stored one to this power; None for sRGB's own curve.

    Raises:
        ValueError: these are no primaries of a colour space.
    """
    columns = to_xyz(primaries, adapted=True).T
    curve = b"para\0\0\0\0" + (
        struct.pack(">HH", 3, 0) + _fixed(SRGB_CURVE) if gamma is None else struct.pack(">HH", 0, 0) + _fixed([gamma])
    )
    tags = [(b"wtpt", _xyz(D50))]
    for name, column in zip((b"r", b"g", b"b"), columns, strict=True):
        tags += [(name + b"XYZ", _xyz(column)), (name + b"TRC", curve)]
    for name in (b"desc", b"cprt"):  # both required: a language, a country, and one letter of UTF-16
        tags.append((name, b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", 2, 28) + b"\0 \0\0"))
    start, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, content in tags:
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content
    size = 128 + len(table) + len(body)
    head = struct.pack(">I4xI", size, 0x04300000) + b"mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28) + _fixed(D50)
    return head.ljust(128, b"\0") + table + body


def to_xyz(primaries: Primaries, *, adapted: bool) -> np.ndarray:
    """The matrix (3 x 3) from linear RGB, 0 to 1, to XYZ; `adapted` to the white of ICC's connection space.

    Raises:
        ValueError: these are no primaries of a colour space.
    """
    if not all(y > 0 for _, y in primaries):
        raise ValueError("primaries without luminance")
    whites, *colours = (np.array([x / y, 1.0, (1 - x - y) / y]) for x, y in primaries)
    matrix = np.stack(colours, axis=1)
    if abs(np.linalg.det(matrix)) < 1e-3:  # noqa: PLR2004
        raise ValueError("primaries on one line")
    matrix = matrix * np.linalg.solve(matrix, whites)
    if not adapted:
        return matrix
    gains = (BRADFORD @ D50) / (BRADFORD @ whites)
    found: np.ndarray = np.linalg.inv(BRADFORD) @ np.diag(gains) @ BRADFORD @ matrix
    return found


def _fixed(values: Sequence[float]) -> bytes:
    """ICC's numbers: signed, 16 bits before the point and 16 behind.

    Raises:
        ValueError: a value is beyond these.
    """
    try:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)
    except (struct.error, OverflowError, ValueError) as error:
        raise ValueError("colours beyond those of a profile") from error


def _xyz(values: Sequence[float]) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(values)
