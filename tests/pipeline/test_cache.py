"""The cache forgives: an entry that is not what was written counts as missing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from pipeline.cache import Cache, alike

WHOLE = np.array([3.0, 4.0, 5.0, 6.0], np.float32)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """A cache with one entry of each kind, by the key `ab12`."""
    found = Cache(tmp_path)
    found.put_reply("ab12", {"text": "good"})
    found.put_vector("ab12", WHOLE)
    found.put_tensors("latents", "ab12", {"mean": torch.ones(2, 2)})
    found.put_pictures("ab12", b"a JPEG")
    return found


def entries(cache: Cache) -> tuple[object, ...]:
    vector = cache.get_vector("ab12")
    return cache.get_reply("ab12"), vector, cache.get_tensors("latents", "ab12"), cache.get_pictures("ab12")


def damage(cache: Cache, change: Callable[[Path], None]) -> None:
    for file in [path for path in cache.folder.rglob("*") if path.is_file()]:
        change(file)


def halve(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def drop_four_bytes(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-4])


def make_a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def make_endless(file: Path) -> None:
    file.unlink()
    file.symlink_to("/dev/zero")


def make_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def make_huge(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.truncate(1 << 40)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "change",
    [halve, drop_four_bytes, make_a_pipe, make_endless, make_a_folder, make_huge],
    ids=lambda one: one.__name__,
)
def test_an_entry_that_is_not_whole_counts_as_missing(cache: Cache, change: Callable[[Path], None]) -> None:
    assert all(entry is not None for entry in entries(cache))
    damage(cache, change)
    assert entries(cache) == (None,) * 4


def test_half_a_vector_is_not_a_shorter_one_and_a_changed_one_is_none(cache: Cache) -> None:
    (file,) = cache.folder.rglob("*.f32")
    content = file.read_bytes()
    for other in (content[: len(content) // 2], content[:-1] + b"\1", WHOLE.tobytes(), WHOLE[:2].tobytes()):
        file.write_bytes(other)
        assert cache.get_vector("ab12") is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_counts_as_missing(cache: Cache, value: float) -> None:
    cache.put_vector("ab12", np.array([1, value], np.float32))
    cache.put_tensors("latents", "ab12", {"mean": torch.tensor([1, value]), "std": torch.ones(2)})
    assert entries(cache)[1:3] == (None, None)


@pytest.mark.parametrize(
    "content",
    [
        b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"text": ' + b"9" * 5_000 + b"}",
        b"5",
        b'"text"',
        b'{"text": "a"',
    ],
    ids=lambda content: str(content[:12]),
)
def test_a_reply_that_is_no_table_counts_as_missing(cache: Cache, content: bytes) -> None:
    (file,) = cache.folder.rglob("*.json")
    file.write_bytes(content)
    assert cache.get_reply("ab12") is None and [*cache.replies()] == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        (2).to_bytes(8, "little") + b"{}",
        (2**63).to_bytes(8, "little") + b"{}",
        save({"mean": torch.ones(2)})[:-1],
        save({"mean": torch.ones(2)}).replace(b"F32", b"Q32"),
        save({"mean": torch.ones(2)}).replace(b'"shape":[2]', b'"shape":[9]'),
    ],
)
def test_tensors_that_can_t_be_read_count_as_missing(cache: Cache, content: bytes) -> None:
    (file,) = cache.folder.rglob("*.safetensors")
    file.write_bytes(content)
    assert not cache.get_tensors("latents", "ab12")


def test_entries_unlike_all_others_are_left_out() -> None:
    assert alike({"a": "xx", "b": "yy", "c": "z"}, len) == {"a": "xx", "b": "yy"}
    assert alike({}, len) == {}
