"""Which groups are taken where a task wants fewer: those that cover the pool, and no source fills the set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from measured import film

from pipeline import task
from pipeline.grouping.choice import choose, farthest_first, per_source
from pipeline.grouping.pictures import Pictures
from pipeline.records import Group


def plainly(vectors: np.ndarray, sources: list[Hashable], most: int, limit: int) -> set[int]:
    """Farthest-first as it is defined, every distance measured anew."""
    taken: list[int] = []
    for turn in range(len(vectors) * len(set(sources)) + 1):
        order = list(dict.fromkeys(sources))
        source = order[turn % len(order)] if order else None
        left = [place for place, own in enumerate(sources) if own == source and place not in taken]
        if not left or len(taken) >= most or sum(sources[place] == source for place in taken) >= limit:
            continue
        taken.append(min(left, key=lambda place: max((float(vectors[place] @ vectors[t]) for t in taken), default=-2)))
    return set(taken)


@settings(deadline=None, max_examples=30)
@given(
    sources=st.lists(st.sampled_from("abc"), max_size=25), most=st.integers(0, 30), limit=st.integers(1, 12),
    seed=st.integers(0, 9), at_once=st.integers(1, 9),
)  # fmt: skip
def test_lazily_updated_distances_choose_what_all_distances_would(
    sources: list[str], most: int, limit: int, seed: int, at_once: int
) -> None:
    vectors = np.random.default_rng(seed).normal(size=(len(sources), 4)).astype(np.float32)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.grouping.choice.REFRESHED", at_once)
        assert farthest_first(vectors, sources, most, limit) == plainly(vectors, [*sources], most, limit)


@pytest.mark.parametrize("limit", [4, 100])
def test_a_large_choice_takes_as_many_of_each_source_and_covers_each(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    sources = [f"film {number % 5 if number < 60 else 5}" for number in range(90)]
    vectors = rng.normal(size=(90, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    whole = farthest_first(vectors, sources, 33, limit)
    monkeypatch.setattr("pipeline.grouping.choice.COMPARISONS", 90 * 33 // 3)
    dealt = farthest_first(vectors, sources, 33, limit)
    assert Counter(sources[place] for place in dealt) == Counter(sources[place] for place in whole)
    assert dealt != whole

    def near(taken: set[int]) -> float:
        return float((vectors @ vectors[sorted(taken)].T).max(axis=1).mean())

    assert near(dealt) > near(set(range(len(dealt))))


def test_the_chosen_cover_clusters_of_any_size() -> None:
    rng = np.random.default_rng(0)
    centres = np.eye(8, dtype=np.float32)
    of = np.concatenate([np.zeros(500, int), np.arange(1, 8)])
    vectors = centres[of] + 0.02 * rng.normal(size=(len(of), 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert {int(of[place]) for place in farthest_first(vectors, ["one"] * len(of), 8, 100)} == set(range(8))


def groups_of(counts: dict[str, int]) -> tuple[list[Group], Pictures]:
    shots = [shot for name, count in counts.items() for shot in film(name, 3 * count)]
    groups = [Group(f"g{n}", "storyboard", tuple(shots[n : n + 3]), "", 1.0) for n in range(0, len(shots), 3)]
    return groups, Pictures.of(task.load("storyboard"), shots, None)


def test_one_source_gives_at_most_half_but_no_fewer_than_the_task_needs_and_all_if_it_is_the_only_one() -> None:
    board = task.load("storyboard")
    assert (per_source(board, 1), per_source(board, 2)) == (100, 50)
    assert per_source(task.load("storyboard", ["grids=[20,30]"]), 5) == 20
    assert per_source(task.load("storyboard", ["group.per_source=3"]), 1) == 3


def test_the_rejected_row_says_that_a_source_has_given_enough() -> None:
    groups, pictures = groups_of({"a": 9, "b": 2})
    chosen, left = choose(groups, 8, task.load("storyboard", ["grids=[1,8]", "group.per_source=4"]), pictures)
    assert Counter(group.records[0].position.film for group in chosen) == {"a": 4, "b": 2}
    assert {row.detail.partition(": ")[2] for row in left} == {
        "its group was not needed: 4 are from a already (group.per_source)."
    }
    _, left = choose(groups, 5, task.load("storyboard", ["grids=[1,5]", "group.per_source=4"]), pictures)
    assert "its group was not needed: storyboard takes at most 5 grids" in left[0].detail


def test_few_groups_of_one_source_are_still_limited() -> None:
    groups, pictures = groups_of({"a": 9, "b": 1})
    chosen, _ = choose(groups, 100, task.load("storyboard", ["group.per_source=2"]), pictures)
    assert len(chosen) == 3
