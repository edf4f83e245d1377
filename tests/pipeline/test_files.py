"""Files take the place of others whole, and only when they are on the disk."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

import pytest

from bench.house import HOUSE, ROOT
from pipeline import files


def test_a_file_is_on_the_disk_before_it_replaces_another_and_its_name_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    seen: list[tuple[bool, str]] = []
    sync = os.fsync

    def spy(handle: int) -> None:
        seen.append((os.path.samestat(os.fstat(handle), tmp_path.stat()), path.read_text()))
        sync(handle)

    monkeypatch.setattr(os, "fsync", spy)
    files.write(path, "new")
    assert seen == [(False, "old"), (True, "new")]


def test_text_is_written_as_it_is_in_utf_8(tmp_path: Path) -> None:
    files.write(tmp_path / "a", "schön\r\n🎬")
    files.write(tmp_path / "b", b"\0\xff")
    assert (tmp_path / "a").read_bytes() == "schön\r\n🎬".encode()
    assert (tmp_path / "b").read_bytes() == b"\0\xff"


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), files.replacing(path) as part:
        part.write_text("half of the n")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_reported_with_the_name_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    with pytest.raises(OSError, match="No space left on device") as caught, files.replacing(path) as part:
        part.symlink_to("/dev/full")
        part.write_text("new")
    assert caught.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []


def test_two_that_write_the_same_file_at_once_don_t_disturb_each_other(tmp_path: Path) -> None:
    path, barrier = tmp_path / "review.html", threading.Barrier(2)

    def write(letter: str) -> None:
        with files.replacing(path) as part:
            barrier.wait(10)
            part.write_text(letter * 100_000)
            barrier.wait(10)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "xy"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in ("x" * 100_000, "y" * 100_000)
    assert list(tmp_path.iterdir()) == [path]


OWN_WAYS = {"pipeline/cache.py", "miniature/film.py", "miniature/resumable.py"}
"""Entries of the cache count as missing if they are torn; the miniature's films and models are made again."""


def test_no_other_file_has_a_way_of_its_own_to_replace_files() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in HOUSE
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"\bpart\.(replace|rename)\([^\"]|os\.(replace|rename)\(", path.read_text(encoding="utf-8"))
    }
    assert found == OWN_WAYS | {"pipeline/files.py", "pipeline/stages/export.py"}
