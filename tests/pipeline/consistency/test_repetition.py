"""Grids with nearly the same panels as an earlier one: found by blocks, and among those that are kept."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.consistency import repetition
from pipeline.consistency.repetition import Kept, Seen, overlap

AXES = np.eye(3, dtype=np.float32)
COUNT = 60


def unit(*rows: list[float]) -> np.ndarray:
    vectors = np.array(rows, np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repetition, "BLOCK", 8)
    monkeypatch.setattr(repetition, "AGAINST", 5)
    monkeypatch.setattr(repetition, "PAIRS", 7)


def drawn(size: int) -> np.ndarray:
    """Panels of grids, of which three are the same."""
    panels = np.random.default_rng(size).standard_normal((COUNT, size, 6)).astype(np.float32)
    panels /= np.linalg.norm(panels, axis=-1, keepdims=True)
    panels[30] = panels[11] = panels[3]
    return panels


def one_by_one(panels: np.ndarray, number: int, kept: list[int]) -> object:
    """The overlap with the most similar of some grids, and its number; None for none."""
    values = [overlap(panels[number][None], panels[other][None])[0] for other in kept]
    return (pytest.approx(max(values)), kept[int(np.argmax(np.round(values, 5)))]) if kept else None


def test_a_grid_is_contained_in_another_if_all_but_a_third_of_its_panels_are() -> None:
    other = unit([1, 0, 0], [0, 1, 0], [1, 1, 0])
    assert overlap(AXES[None], other[None]) == pytest.approx([1.0])  # two of three are there
    assert overlap(AXES[None], unit([1, 0, 0], [1, 0, 0], [1, 0, 0])[None]) == pytest.approx([0.0])
    assert overlap(AXES[None, :2], other[None, :1]) == pytest.approx([0.0])  # of two both must be


@pytest.mark.parametrize("asked", [range(COUNT), range(0, COUNT, 3), ()], ids=["all", "every third", "none"])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.usefixtures("small_blocks")
def test_the_nearest_of_the_grids_seen_is_that_of_comparing_one_by_one(size: int, asked: range) -> None:
    """Whatever the sizes of blocks, whichever grids were announced, and whichever are kept; the first of equals."""
    rng, panels, kept = np.random.default_rng(size), drawn(size), list[int]()
    seen = Seen(panels, asked)
    for number in range(COUNT):
        assert seen.nearest(number) == one_by_one(panels, number, kept)
        if number == 3 or rng.random() < 0.6:
            kept.append(number)
            seen.add(number)


def test_of_every_grid_the_most_similar_earlier_one_is_known(small_blocks: None) -> None:
    panels = drawn(3)
    known = repetition.earlier(panels)
    found = list(zip(known.overlaps.tolist(), known.places.tolist(), strict=True))
    assert np.isnan(found[0][0]) and found[0][1] == -1
    assert found[1:] == [one_by_one(panels, number, list(range(number))) for number in range(1, COUNT)]


@given(
    seed=st.integers(0, 10_000),
    size=st.integers(1, 6),
    spread=st.sampled_from([0.0, 0.05, 0.5, 5.0]),
    many=st.booleans(),
)
def test_the_nearest_earlier_grid_is_to_the_last_bit_that_of_looking_at_all_panels_of_all_grids(
    monkeypatch: pytest.MonkeyPatch, seed: int, size: int, spread: float, many: bool
) -> None:
    """Of scenes that come again, some of them exactly, and of panels in another order."""
    for name, value in (("BLOCK", 8), ("AGAINST", 13), ("PAIRS", 64 if many else 5)):
        monkeypatch.setattr(repetition, name, value)
    rng = np.random.default_rng(seed)
    scenes = rng.standard_normal((5, size, 6))
    panels = scenes[rng.integers(0, 5, COUNT)] + spread * rng.standard_normal((COUNT, size, 6))
    panels = rng.permuted(panels, axis=1) if many else panels
    panels[40:50] = panels[rng.integers(0, 40, 10)]
    panels = (panels / np.linalg.norm(panels, axis=-1, keepdims=True)).astype(np.float32)
    found = repetition.earlier(panels)
    for number in range(1, COUNT):
        values = overlap(panels[number][None], panels[:number])
        assert (found.overlaps[number], found.places[number]) == (values.max(), values.argmax())


@pytest.mark.parametrize("share", [0, 0.3, 1])
def test_the_nearest_of_the_grids_kept_is_that_of_comparing_one_by_one(small_blocks: None, share: float) -> None:
    """Whether it was known that a grid is not kept, or it turned out only then."""
    rng, panels, kept = np.random.default_rng(5), drawn(3), list[int]()
    out = set(np.flatnonzero(rng.random(COUNT) < share).tolist())
    among = Kept(panels, repetition.earlier(panels), out)
    for number in range(COUNT):
        assert among.nearest(number) == one_by_one(panels, number, kept)
        if number not in out and (rng.random() < 0.9 or not share):
            kept.append(number)
            among.add(number)


def test_nothing_is_compared_again_while_all_grids_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    panels = drawn(3)
    known = repetition.earlier(panels)
    monkeypatch.setattr(repetition, "overlap", None)
    among = Kept(panels, known, set())
    for number in range(COUNT):
        among.nearest(number)
        among.add(number)
