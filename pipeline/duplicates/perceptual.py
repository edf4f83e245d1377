"""Another size, compression or crop of a few pixels, mirrored or turned: alike by perceptual hash and by colours.

The hash alone is not enough: it knows no colours, and many a picture that shows hardly anything has that of another.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from PIL import Image

from pipeline.duplicates import index
from pipeline.duplicates.base import Copy, Limits, Looks
from pipeline.records import Record

SIDE = 32
"""Pixels to which imagehash's `phash` scales a picture."""
TURNS = {
    "mirrored": Image.Transpose.FLIP_LEFT_RIGHT,
    "mirrored upside down": Image.Transpose.FLIP_TOP_BOTTOM,
    "turned by 180°": Image.Transpose.ROTATE_180,
    "turned by 90°": Image.Transpose.ROTATE_90,
}
"""What is done to copies. Of two pictures turned by 270°, one is the other turned by 90°."""
AS_IT_IS = ""


def hashes(image: Image.Image) -> tuple[str, ...]:
    """Perceptual hashes of a picture in hex: as it is, then after each of TURNS."""
    import imagehash

    small = image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS)  # as `phash` itself does first
    forms = (small, *(small.transpose(operation) for operation in TURNS.values()))
    return tuple(np.packbits(imagehash.phash(one).hash).tobytes().hex() for one in forms)


def copies(looks: Looks, order: np.ndarray, limits: Limits, fixed: int) -> Iterator[Copy]:
    """Near-copies; `finding` says what the arguments are.

    Copies are not passed on along a chain: each is one of a picture that stays.
    """
    every = (value for record in looks.records for value in _forms(record, limits.bits).values())
    values, counts = np.unique(np.fromiter(every, np.uint64), return_counts=True)
    near = _near(values, limits.bits)
    telling = {*values[counts > 1].tolist(), *near}
    """The hashes by which anything is found; nearly all pictures have none."""
    forms = {
        row: some
        for row, record in enumerate(looks.records)
        if (some := {turn: value for turn, value in _forms(record, limits.bits).items() if value in telling})
    }
    staying: dict[int, dict[int, str]] = defaultdict(dict)
    """By hash, the rows that stay and have it, and what is done to them then."""
    rank = {row: place for place, row in enumerate(order.tolist()) if row in forms}
    for row in (row for row in order.tolist() if row in forms):
        found: dict[int, str] = {}
        for turn, value in forms[row].items() if row >= fixed else ():
            for hash_ in (value, *near.get(value, ())):
                for other, way in staying.get(hash_, {}).items():
                    if AS_IT_IS in (turn, way):
                        found[other] = min(found.get(other, turn or way), turn or way)
        others = sorted(found, key=rank.__getitem__)
        alike = looks.colours[others] @ looks.colours[row] >= limits.colours if others else np.empty(0, bool)
        if alike.any():
            first = others[int(np.argmax(alike))]
            yield Copy(row, first, found[first] or f"hash within {limits.bits} bits")
        elif row < fixed or not fixed:
            for turn, value in forms[row].items():
                staying[value].setdefault(row, turn)


def _forms(record: Record, bits: int) -> dict[str, int]:
    """A picture's hash as it is, and those after each of TURNS that are not near it anyway."""
    if not record.phash:
        return {}
    own = int(record.phash, 16)
    turned = [int(record.turned[start : start + 16], 16) for start in range(0, len(record.turned), 16)]
    other = {turn: value for turn, value in zip(TURNS, turned, strict=False) if (value ^ own).bit_count() > bits}
    return {AS_IT_IS: own} | other


def _near(every: np.ndarray, bits: int) -> dict[int, list[int]]:
    """By hash, the other hashes within so many bits.

    Args:
        every: each hash once, sorted.
    """
    near: dict[int, list[int]] = defaultdict(list)
    one, other = index.pairs(every, bits)
    for first, second in zip(every[one].tolist(), every[other].tolist(), strict=True):
        near[first].append(second)
        near[second].append(first)
    return near
