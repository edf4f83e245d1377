"""Every naming scheme of the benchmark: its groups are found in the right order, or the order is asked for."""

from __future__ import annotations

import pytest

from bench.pairs import NAMINGS, Naming, formed, pool, task_of, verdict
from pipeline.grouping import schemes

NOT_WRITTEN = {
    *("different sizes", "size and date", "dates of different days", "role in folder and name"),
    *("written in one", "Chinese, written in one", "Korean, written in one"),
    *("role first, camel case", "words of a task, with and without"),
}
"""Schemes of which one pattern says too little: a role that stands twice, or that nothing parts from the rest."""


@pytest.mark.parametrize("naming", NAMINGS, ids=lambda naming: naming.habit)
def test_the_order_of_panels_is_right_or_asked_for(naming: Naming) -> None:
    assert verdict(naming, *formed(naming)) == ("asked" if naming.asked else "right")


def test_there_are_at_least_fifty_schemes_and_some_can_t_be_told() -> None:
    assert len(NAMINGS) >= 50 and sum(naming.asked for naming in NAMINGS) >= 5


WRITTEN = [naming for naming in NAMINGS if not naming.asked and naming.habit not in NOT_WRITTEN]


@pytest.mark.parametrize("naming", WRITTEN, ids=lambda naming: naming.habit)
def test_a_pattern_that_was_found_gives_the_same_sets_when_it_is_set(naming: Naming) -> None:
    own = task_of(naming)
    names = [(folder, stem) for folder, _, stem in (path.rpartition("/") for path in pool(naming))]
    (found,) = schemes.read(names, own)
    given = own.model_copy(update={"group": own.group.model_copy(update={"pattern": found.pattern})})
    size = own.grid_layout.size
    again = [one.chosen(size) for scheme in schemes.read(names, given) for one in scheme.sets]
    assert sorted(filter(None, again)) == sorted(filter(None, (one.chosen(size) for one in found.sets)))
