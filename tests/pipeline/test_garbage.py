"""The search for garbage rests while rows are read, and only then."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from pipeline import garbage


@pytest.fixture(autouse=True)
def searching() -> Iterator[None]:
    yield
    gc.enable()


def test_it_rests_until_the_outermost_pause_ends() -> None:
    with garbage.paused():
        with garbage.paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_it_is_resumed_after_an_error() -> None:
    with pytest.raises(ValueError), garbage.paused():
        raise ValueError
    assert gc.isenabled()


def test_it_stays_off_where_somebody_else_has_turned_it_off() -> None:
    gc.disable()
    with garbage.paused():
        pass
    assert not gc.isenabled()
