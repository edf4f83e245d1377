"""What the kept grids cover of what was collected, and what they lack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from pipeline import task
from pipeline.records import Caption, Grid, Group, Position, Record, Row
from pipeline.review import coverage
from pipeline.stages.inspect import BINS

TASK = task.load("storyboard")
RED, GREEN, BLUE = 0, 40, 80


def record(film: str, shot: int, colour: int = RED) -> Record:
    histogram = np.zeros(int(np.prod(BINS)), np.uint8)
    histogram[colour] = 250
    histogram[shot % 5 + 100] = 20
    position = Position(folder="/films", film=film, shot=shot, stem=f"{film} {shot}")
    return Record(f"{film}-{shot}", f"{shot}.jpg", f"/films/{film}", position, histogram=bytes(histogram).hex())


def row(records: Sequence[Record], *texts: str, decision: str = "keep") -> Row:
    group = Group(f"s-{records[0].id}", TASK.name, tuple(records), "", 1.0)
    grid = Grid(f"g-{records[0].id}", group, TASK.grid_layout, "g.png")
    return Row(grid, Caption("", "", "", texts or ("", "", "")), decision=decision)  # type: ignore[arg-type]


def rows_of(film: str, count: int, *texts: str, colour: int = RED) -> list[Row]:
    return [row([record(film, 3 * n + k, colour) for k in range(3)], *texts) for n in range(count)]


def pool_of(rows: Sequence[Row]) -> list[Record]:
    return [one for each in rows for one in each.grid.group.records]


def remarks(name: str, rows: Sequence[Row], pool: Sequence[Record]) -> tuple[str, ...]:
    return next(aspect.remarks for aspect in coverage.measure(rows, pool, TASK) if aspect.name == name)


def test_a_film_that_fills_most_of_the_set_and_one_that_is_missing_are_named():
    rows = [*rows_of("a.mp4", 9), *rows_of("b.mp4", 2)]
    pool = [*pool_of(rows), *pool_of(rows_of("c.mp4", 1))]
    assert remarks("source", rows, pool) == ("9 of 11 grids come from a.mp4", "no grid comes from c.mp4")


def test_a_set_from_one_film_alone_says_so():
    rows = rows_of("a.mp4", 8)
    assert remarks("source", rows, pool_of(rows)) == (
        "all grids come from one film, a.mp4; others would show more people and places",
    )


def test_a_balanced_set_has_nothing_to_remark():
    texts = ("a close-up of a hand", "a medium shot of a dog", "a wide shot of the sea")
    rows = [*rows_of("a.mp4", 5, *texts), *rows_of("b.mp4", 5, *texts, colour=GREEN)]
    assert not [remark for aspect in coverage.measure(rows, pool_of(rows), TASK) for remark in aspect.remarks]


def test_films_of_one_name_in_two_folders_are_told_apart():
    first = rows_of("a.mp4", 1)[0]
    moved = replace(record("a.mp4", 9), id="x", source="/other/a.mp4")
    aspect = coverage.measure([first, row([moved] * 3)], [], TASK)[0]
    assert aspect.counts == {"/films/a.mp4": 1, "/other/a.mp4": 1}


def test_close_ups_only_are_told_and_what_is_missing():
    rows = [*rows_of("a.mp4", 4, *["a close-up of a face"] * 3), *rows_of("b.mp4", 4, *["Close-up, a cup"] * 3)]
    assert remarks("shot size", rows, pool_of(rows)) == (
        "24 of 24 panels whose texts tell a shot size are a close-up",
        "no panel is a medium shot or a wide shot",
    )


def test_shot_sizes_that_few_texts_tell_are_counted_without_a_verdict():
    rows = [*rows_of("a.mp4", 4, "a close-up", "a dog runs", "it rains"), *rows_of("b.mp4", 4, "a", "b", "c")]
    sizes = next(aspect for aspect in coverage.measure(rows, pool_of(rows), TASK) if aspect.name == "shot size")
    assert (sizes.counts["close-up"], sizes.counts["not told"], sizes.remarks) == (4, 20, ())


def test_pictures_of_like_colours_that_no_grid_has_are_told_with_an_example():
    rows = [*rows_of("a.mp4", 5), *rows_of("b.mp4", 5, colour=GREEN)]
    unused = [record("a.mp4", 100 + n, BLUE) for n in range(12)]
    found = remarks("colours", rows, [*pool_of(rows), *unused])
    assert found == ("12 pictures of like colours, such as a.mp4 shot 100, are in no grid",)


@pytest.mark.parametrize("decision", ["drop", "unsure"])
def test_only_kept_grids_count(decision: str):
    rows = [replace(one, decision=decision) for one in rows_of("a.mp4", 9)]
    assert coverage.measure(rows, pool_of(rows), TASK) == []


def test_the_same_rows_give_the_same_counts():
    rows = [*rows_of("a.mp4", 9), *rows_of("b.mp4", 5, colour=BLUE)]
    assert coverage.measure(rows, pool_of(rows), TASK) == coverage.measure(rows, pool_of(rows), TASK)


def test_of_a_few_grids_it_is_not_told_which_colours_they_lack():
    rows = rows_of("a.mp4", 7)
    unused = [record("a.mp4", 100 + n, BLUE) for n in range(12)]
    assert remarks("colours", rows, [*pool_of(rows), *unused]) == ()
