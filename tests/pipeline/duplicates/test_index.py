"""Everything within the radius is found, and each pair once, whatever the hashes are like."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.duplicates import index


def brute(hashes: list[int], radius: int) -> list[tuple[int, int]]:
    return [
        (i, j)
        for (i, one), (j, other) in itertools.combinations(enumerate(hashes), 2)
        if (one ^ other).bit_count() <= radius
    ]


def found(hashes: list[int], radius: int) -> list[tuple[int, int]]:
    one, other = index.pairs(np.array(hashes, np.uint64), radius)
    return list(zip(one.tolist(), other.tolist(), strict=True))


HASHES = st.lists(st.integers(0, 2**64 - 1), max_size=6)
FLIPS = st.lists(st.tuples(st.integers(0, 5), st.lists(st.integers(0, 63), max_size=9)), max_size=12)


@pytest.mark.parametrize("few", [0, 16])
@settings(deadline=None, max_examples=25)
@given(hashes=HASHES, flips=FLIPS, radius=st.sampled_from([0, 1, 6, 7, 40, 64]))
def test_all_pairs_within_the_radius_are_found_once(
    few: int, hashes: list[int], flips: list[tuple[int, list[int]]], radius: int
) -> None:
    for place, bits in flips:
        if place < len(hashes):
            hashes = [*hashes, hashes[place] ^ sum(1 << bit for bit in set(bits))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "FEW", few)  # 0: tables even for these few
        assert found(hashes, radius) == brute(hashes, radius)


def test_planted_pairs_are_found_among_many_hashes() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 20_000, np.uint64)
    planted = hashes[:2_000].copy()
    for _ in range(6):
        planted ^= np.uint64(1) << rng.integers(0, 64, len(planted), np.uint64)
    pairs = set(found([*hashes.tolist(), *planted.tolist()], 6))
    assert {(place, 20_000 + place) for place in range(2_000)} <= pairs
    assert len(pairs) < 2_100


def test_many_hashes_that_agree_in_most_bits_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "AT_ONCE", 100)
    monkeypatch.setattr(index, "FEW", 0)
    hashes = [number << 40 for number in range(120)]
    assert found(hashes, 3) == brute(hashes, 3)
