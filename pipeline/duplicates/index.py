"""Which hashes are near which, among many: by blocks that must be equal, as in Manku, Jain and Das Sarma, "Detecting
near-duplicates for web crawling" (WWW 2007).

Cut 64 bits into `radius + MATCHING` blocks: two hashes that differ in at most `radius` bits agree in at least MATCHING
blocks. So for every choice of MATCHING blocks, only hashes that agree in these are compared: nothing within the radius
is missed. With radius 6 this takes 84 sorts, and agreement by chance in 21 bits is rare up to millions of hashes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

MATCHING = 3
"""Blocks that are compared for equality: 84 tables of 21 bits at radius 6; with 2 there are 28, but of only 16 bits."""
FEW = 16
"""Up to this many hashes per table, comparing all with all is faster."""
AT_ONCE = 1 << 22
"""Pairs that are compared at once: 100 MB."""


def pairs(hashes: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of hashes that differ in at most `radius` bits.

    Args:
        hashes: unsigned 64-bit integers; best without repetitions, of which every two are a pair.

    Returns:
        The places of the first and of the second of every pair, in order.
    """
    blocks = min(64, radius + MATCHING)
    edges = [round(64 * number / blocks) for number in range(blocks + 1)]
    bits = [(low, high - low) for low, high in itertools.pairwise(edges)]
    tables = math.comb(blocks, MATCHING)
    if radius + MATCHING > 64 or len(hashes) <= FEW * tables:  # noqa: PLR2004
        found = list(_all(hashes, radius))
    else:
        found = [one for chosen in itertools.combinations(range(blocks), MATCHING)
                 for one in _agreeing(hashes, radius, bits, chosen)]  # fmt: skip
    first = np.concatenate([one for one, _ in found]) if found else np.empty(0, np.int64)
    second = np.concatenate([other for _, other in found]) if found else np.empty(0, np.int64)
    first, second = np.minimum(first, second), np.maximum(first, second)
    order = np.lexsort((second, first))
    return first[order], second[order]


def _all(hashes: np.ndarray, radius: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    rows = max(1, AT_ONCE // max(1, len(hashes)))
    for start in range(0, len(hashes), rows):
        differ = np.bitwise_count(hashes[start : start + rows, None] ^ hashes[None, start:])
        one, other = np.nonzero(differ <= radius)
        yield one[other > one] + start, other[other > one] + start


def _agreeing(
    hashes: np.ndarray, radius: int, bits: Sequence[tuple[int, int]], chosen: Sequence[int]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs within the radius for which the chosen blocks are the first that agree, so that each is found once."""
    key = np.zeros(len(hashes), np.uint64)
    for block in chosen:
        low, width = bits[block]
        key = (key << np.uint64(width)) | ((hashes >> np.uint64(low)) & np.uint64((1 << width) - 1))
    earlier = [_mask(*bits[block]) for block in range(max(chosen)) if block not in chosen]
    place = np.argsort(key, kind="stable")
    ordered = key[place]
    here = np.arange(len(ordered) - 1)
    for step in itertools.count(1):  # neighbours in the order of the keys, then those two apart, ...
        here = here[here + step < len(ordered)]
        here = here[ordered[here] == ordered[here + step]]
        if not len(here):
            return
        for part in np.array_split(here, -(-len(here) // AT_ONCE)):
            one, other = place[part], place[part + step]
            differ = hashes[one] ^ hashes[other]
            near = np.bitwise_count(differ) <= radius
            for mask in earlier:
                near &= (differ & mask) != 0
            yield one[near], other[near]


def _mask(low: int, width: int) -> np.uint64:
    return np.uint64(((1 << width) - 1) << low)
