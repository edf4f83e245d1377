"""A survey of a large source looks at parts of all of it, in which neighbours and pairs are still together."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from iclora import sampling
from pipeline.sources.base import Facts, Item


def items(*names: str) -> list[Item]:
    return [Item("/in", name) for name in names]


def test_a_small_source_is_taken_whole() -> None:
    given = items(*(f"{number}.png" for number in range(100)))
    assert sampling.pictures(given, 100) == given and sampling.films(given, 100) == given


def test_a_large_folder_is_taken_in_runs_of_neighbours_from_all_of_it() -> None:
    given = items(*(f"IMG_{number}.png" for number in range(50_000)))
    chosen = sampling.pictures(given, 2000)
    numbers = [int(item.stem[4:]) for item in chosen]
    assert 1900 <= len(chosen) <= 2000 and numbers == sorted(numbers)
    assert all(count >= 350 for count in Counter(number // 10_000 for number in numbers).values())
    follow = sum(after - before == 1 for before, after in pairwise(numbers))
    assert follow >= 0.95 * len(numbers)
    assert sampling.pictures(given, 2000) == chosen


def test_sides_of_pairs_stay_together_wherever_the_word_stands() -> None:
    beside = items(*(f"{side}/{number}.png" for side in ("before", "after") for number in range(9000)))
    inside = items(*(f"{number}/{side}.png" for number in range(9000) for side in ("before", "after")))
    for given, key in ((beside, "stem"), (inside, "folder")):
        chosen = sampling.pictures(given, 2000)
        pairs = Counter(getattr(item, key) for item in chosen)
        assert 1900 <= len(chosen) <= 2000 and set(pairs.values()) == {2}


def test_a_table_is_taken_group_by_group() -> None:
    given = [Item("/t.csv", f"{n}.png", facts=Facts(group=f"g{n % 3000}")) for n in range(9000)]
    chosen = sampling.pictures(given, 2000)
    assert set(Counter(item.facts.group for item in chosen).values()) == {3}


@pytest.mark.parametrize("count", [5, 7, 100])
def test_films_are_taken_at_equal_distances(count: int) -> None:
    given = items(*(f"{number:03d}.mp4" for number in range(count)))
    places = [given.index(film) for film in sampling.films(given, 4)]
    assert len(set(places)) == 4 and places == sorted(places)
    assert places[0] < count / 4 and places[-1] >= count * 3 / 4 - 1
