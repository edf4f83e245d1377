"""Work ahead: in order, only a little ahead, and none after the end."""

from __future__ import annotations

import itertools
import os
import threading
from contextlib import closing

import pytest

from pipeline.captioning.ahead import ahead


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)


def test_results_come_in_order_whichever_is_ready_first() -> None:
    later = threading.Event()

    def double(number: int) -> int:
        if number == 0:
            assert later.wait(10)
        if number == 3:
            later.set()
        return 2 * number

    assert list(ahead(double, range(20))) == [2 * number for number in range(20)]


def test_the_next_ones_are_begun_before_they_are_asked_for_but_only_four_for_two_cores() -> None:
    taken = itertools.count()
    results = ahead(str, iter(lambda: next(taken), 1_000_000))
    with closing(results):
        assert [next(results), next(results)] == ["0", "1"]
        assert next(taken) == 2 + 4  # two given, four at hand


def test_an_error_comes_in_its_place() -> None:
    results = ahead(lambda number: 1 // (3 - number), range(9))
    assert [next(results) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_after_it_is_closed_no_other_begins_and_no_thread_is_left() -> None:
    before, begun = threading.active_count(), []
    results = ahead(begun.append, range(100))
    next(results)
    results.close()
    count = len(begun)
    assert count <= 1 + 4 and threading.active_count() == before
