"""Names of people: seeded, without repeats, from all regions equally. In captions they are tested in test_caption."""

from __future__ import annotations

from collections import Counter

from pipeline.text import names

REGIONS, SHARE = 9, 40


def drawn(seed: int) -> list[str]:
    return [name for place in range(100) for name in names.draw(2, place, seed)]


def test_another_seed_gives_a_grid_other_names_and_the_same_seed_the_same_names() -> None:
    assert drawn(1) == drawn(1) != drawn(2)


def test_every_region_has_about_its_share_of_the_names_in_a_data_set() -> None:
    for seed in range(20):
        regions = Counter(names.POOL.index(name) // SHARE for name in drawn(seed))
        assert len(regions) == REGIONS
        assert all(12 <= count <= 33 for count in regions.values()), (seed, regions)  # 22 of 200 each on average


def test_a_grid_without_people_gets_no_name() -> None:
    assert names.draw(0, 7, 0) == ()
