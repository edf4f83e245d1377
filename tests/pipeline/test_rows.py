"""Rows of numbers are read as those of an array are, wherever they are kept."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.consistency.likeness import UnitBytes, unit
from pipeline.errors import BadInput
from pipeline.rows import Chosen, Joined, OnDisk, Rows, Without

COUNT, WIDTH = 12, 5
places = st.lists(st.integers(0, COUNT - 1), max_size=20)


def on_disk(array: np.ndarray, folder: Path, order: list[int]) -> OnDisk:
    rows = OnDisk(folder, len(array))
    for place in order:
        if not np.isnan(array[place]).all():
            rows.put(place, array[place])
    return rows


def assert_read_alike(rows: Rows, array: np.ndarray, wanted: list[int]) -> None:
    assert (rows.shape, len(rows)) == (array.shape, len(array))
    shaped = np.array(wanted[: len(wanted) // 2 * 2], int).reshape(-1, 2)
    for some in (wanted, np.array(wanted, int), shaped, slice(None), slice(3, 7), slice(9, 99), 4):
        expected = array[some if len(wanted) or isinstance(some, slice | int) else np.empty(0, int)]
        np.testing.assert_array_equal(rows[some], expected.reshape(np.shape(rows[some])))


@given(seed=st.integers(0, 1000), unknown=places, wanted=places, order=st.permutations(range(COUNT)))
def test_rows_on_the_disk_are_those_that_were_put_and_nan_where_none_was(
    tmp_path: Path, seed: int, unknown: list[int], wanted: list[int], order: list[int]
) -> None:
    array = np.random.default_rng(seed).normal(size=(COUNT, WIDTH)).astype(np.float32)
    array[[place for place in unknown if place]] = np.nan
    rows = on_disk(array, tmp_path / "new", order)
    assert_read_alike(rows, array, wanted)
    assert rows.fits(array[0])
    assert not rows.fits(array[0, :3])
    with pytest.raises(ValueError, match="a row of 3 numbers among rows of 5"):
        rows.put(0, array[0, :3])


@given(seed=st.integers(0, 1000), first=st.permutations(range(COUNT)), wanted=places)
def test_chosen_and_joined_rows_are_those_of_arrays(seed: int, first: list[int], wanted: list[int]) -> None:
    array = np.random.default_rng(seed).normal(size=(COUNT, WIDTH)).astype(np.float32)
    assert_read_alike(Chosen(array, np.array(first)), array[first], wanted)
    gone = first[:5]
    left = np.delete(array, gone, axis=0)
    assert_read_alike(Without(array, np.array(gone)), left, [one % len(left) for one in wanted])
    assert_read_alike(Without(array, np.array(gone[:0], int)), array, wanted)
    for border in (0, 5, COUNT):
        assert_read_alike(Joined(array[:border], array[border:]), array, wanted)


@given(seed=st.integers(0, 1000), wanted=places)
def test_unit_vectors_of_bytes_are_to_the_last_bit_those_of_the_whole_array(seed: int, wanted: list[int]) -> None:
    kept = np.random.default_rng(seed).integers(0, 256, (COUNT, 128)).astype(np.uint8)
    kept[3] = 0
    assert_read_alike(UnitBytes(kept), unit(kept.astype(np.float32)), wanted)


def test_a_file_of_rows_has_no_name_and_is_closed_with_them(tmp_path: Path) -> None:
    rows = on_disk(np.ones((3, 4), np.float32), tmp_path, [0, 1, 2])
    file = rows._file
    del rows
    gc.collect()
    assert file.closed
    assert not list(tmp_path.iterdir())


def test_no_rows_at_all_are_nan(tmp_path: Path) -> None:
    assert np.isnan(OnDisk(tmp_path, 3)[:]).all()


def test_a_folder_that_can_not_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=r"a temporary file in .*file can't be used .*--out"):
        OnDisk(tmp_path / "file", 3)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    rows = OnDisk(tmp_path, 3)
    with open("/dev/full", "r+b", buffering=0) as full:
        kept, rows._file = rows._file, full
        with pytest.raises(BadInput, match=r"No space left on device.*free some space"):
            rows.put(0, np.ones(4, np.float32))
        rows._file = kept


def test_a_file_that_was_cut_is_told(tmp_path: Path) -> None:
    rows = on_disk(np.ones((3, 4), np.float32), tmp_path, [0, 1, 2])
    os.truncate(rows._file.fileno(), 20)
    with pytest.raises(BadInput, match="shorter than what was written"):
        rows[:]
