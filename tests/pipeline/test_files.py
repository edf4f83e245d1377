"""Files of strangers are read without waiting for anything; ours take the place of others whole, on the disk."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.house import HOUSE, ROOT
from pipeline import files, pixels, plugins, task, weights
from pipeline.errors import BadInput
from pipeline.review import spreadsheet
from pipeline.stages import collect


@pytest.fixture
def odd(tmp_path: Path) -> dict[str, Path]:
    """Whatever else a name may lead to."""
    found = {name: tmp_path / name for name in ("pipe", "link to a pipe", "device", "endless", "socket")}
    os.mkfifo(found["pipe"])
    found["link to a pipe"].symlink_to(found["pipe"])
    found["device"].symlink_to("/dev/null")
    found["endless"].symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        home = os.getcwd()
        os.chdir(tmp_path)  # such a name may have 107 bytes
        try:
            listening.bind("socket")
        finally:
            os.chdir(home)
    return found


def test_what_is_no_regular_file_is_not_opened(odd: dict[str, Path]) -> None:
    for path in odd.values():
        with pytest.raises(OSError, match="it is not a regular file"):
            files.open_regular(path)


def test_another_file_that_takes_the_place_of_the_first_is_noticed(
    odd: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain").write_bytes(b"a")
    plain = os.stat(tmp_path / "plain")
    monkeypatch.setattr(os, "stat", lambda _: plain)
    for name in ("pipe", "endless"):
        with pytest.raises(OSError, match="it is not a regular file"):
            files.open_regular(odd[name])


def test_errors_are_those_of_the_system_for_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "itself").symlink_to(tmp_path / "itself")
    for name, why in (
        ("nowhere", "No such file"),
        ("itself", "Too many levels"),
        ("", "it is not a regular file"),
        ("a\0b", "no file can have this name"),
        ("x" * 300, "File name too long"),
    ):
        with pytest.raises(OSError, match=why):
            files.open_regular(tmp_path / name)


def test_no_more_is_read_than_a_file_may_have(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    assert files.read(file, 5) == b"12345"
    with files.open_regular(file, 5) as opened:
        assert opened.read(2) == b"12" and opened.name == str(file)
    for opening in (files.read, files.open_regular):
        with pytest.raises(OSError, match="it has 5 bytes, more than 4"):
            opening(file, 4)
    with file.open("wb") as sparse:
        sparse.truncate(1 << 40)  # a terabyte that takes no place on the disk
    with pytest.raises(OSError, match=r"it has 1,099,511,627,776 bytes, more than 1,000"):
        files.read(file, 1000)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux has such files")
def test_a_file_whose_size_is_not_known_is_bounded_too() -> None:
    assert os.stat("/proc/self/maps").st_size == 0
    with pytest.raises(OSError, match="it has 11 bytes, more than 10"):
        files.read("/proc/self/maps", 10)


# ---- wherever a person names a file, or a stranger's file is found


def _read_table(path: Path) -> object:
    return spreadsheet.read(path, ("id",))


READERS: dict[str, Callable[[Path], object]] = {
    "a task": lambda path: task.load(str(path)),
    "a plug-in": lambda path: plugins.find(plugins.GROUPING, str(path)),
    "a table of captions": _read_table,
    "a picture": pixels.open_image,
    "a model's file": lambda path: weights.folder_hash([path]),
    "a source": lambda path: collect.find([path])[0].head(),
}
ENDINGS = {"a task": ".toml", "a plug-in": ".py"}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("what", READERS)
@pytest.mark.parametrize("kind", ["pipe", "endless", "device"])
def test_a_pipe_or_a_device_is_one_sentence_wherever_a_file_is_read(
    what: str, kind: str, odd: dict[str, Path], tmp_path: Path
) -> None:
    path = odd[kind].rename(tmp_path / f"odd{ENDINGS.get(what, '.png')}")
    with pytest.raises(BadInput, match="it is not a regular file") as caught:
        READERS[what](path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value) and str(caught.value).endswith(".")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("what", ["a task", "a plug-in", "a table of captions", "a picture"])
def test_a_file_of_terabytes_is_one_sentence_too(what: str, tmp_path: Path) -> None:
    path = tmp_path / f"huge{ENDINGS.get(what, '.png')}"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(BadInput, match=r"it has 1,099,511,627,776 bytes, more than"):
        READERS[what](path)


# ---- writing


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


@pytest.mark.skipif(os.name != "posix", reason="elsewhere leftovers stay")
def test_what_a_killed_process_has_left_of_a_file_goes_with_its_next_version(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left, other, running = (
        tmp_path / name
        for name in (f"a.csv.{ended.pid}-7.part", f"b.csv.{ended.pid}-7.part", f"a.csv.{os.getppid()}-7.part")
    )
    for part in (left, other, running):
        part.touch()
    files.write(tmp_path / "a.csv", "new")
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "a.csv", other, running])


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


OWN_WAYS = {"pipeline/cache.py", "miniature/film.py", "miniature/making/resumable.py"}
"""Entries of the cache count as missing if they are torn; the miniature's films and models are made again."""


def test_no_other_file_has_a_way_of_its_own_to_replace_files() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in HOUSE
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"\bpart\.(replace|rename)\([^\"]|os\.(replace|rename)\(", path.read_text(encoding="utf-8"))
    }
    assert found == OWN_WAYS | {"pipeline/files.py", "pipeline/stages/export.py"}
