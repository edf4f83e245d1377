"""What a data set's files were when it was written, and what has happened to them since."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.dataset import checksums

NAMES = ["README.md", "train/0001.png", "train/0001.txt", "train/metadata.jsonl", "kohya.toml"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"content of {name}")
    checksums.write(tmp_path, NAMES)
    return tmp_path


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="needs sha256sum")
def test_the_list_is_one_that_sha256sum_checks(folder: Path) -> None:
    checked = subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=folder, capture_output=True, check=True)
    assert checked.stdout.count(b": OK\n") == len(NAMES)


def test_a_data_set_as_it_was_written_has_no_faults(folder: Path) -> None:
    assert checksums.faults(folder, checksums.digest(folder)) == []
    assert checksums.edited(folder) == []


def test_data_that_are_missing_altered_or_added_are_faults(folder: Path) -> None:
    known = checksums.digest(folder)
    (folder / "train/0001.png").unlink()
    (folder / "train/0001.txt").write_text("another caption")
    (folder / "train/0002.png").write_text("one more")
    (folder / "train/0002_flux.npz").write_text("a trainer's cache")
    assert checksums.faults(folder, known) == [
        "train/0001.png is missing",
        "train/0001.txt was altered",
        "train/0002.png was added",
    ]
    assert checksums.edited(folder) == ["train/0001.txt", "train/0002.png"]


def test_a_config_may_be_edited_but_is_noticed(folder: Path) -> None:
    known = checksums.digest(folder)
    (folder / "kohya.toml").write_text("my own path")
    assert checksums.faults(folder, known) == []
    assert checksums.edited(folder) == ["kohya.toml"]
    (folder / "kohya.toml").unlink()
    assert checksums.faults(folder, known) == ["kohya.toml is missing"]


def test_another_data_set_is_not_that_of_the_export(folder: Path) -> None:
    known = checksums.digest(folder)
    (folder / "train/0001.txt").write_text("another caption")
    checksums.write(folder, NAMES)
    assert checksums.faults(folder, known) == ["SHA256SUMS is not that of the export"]
    (folder / "SHA256SUMS").write_bytes(b"\xff\xfe broken")
    assert checksums.faults(folder, known) == ["SHA256SUMS is not that of the export"]


def test_paths_that_lead_out_of_the_folder_are_not_taken(folder: Path) -> None:
    (folder / "SHA256SUMS").write_text(
        "ab  ../../etc/passwd\nab  /etc/passwd\nab  a\\..\\b\nab  train/0001.png\n\nab\n"
    )
    assert checksums.read(folder) == {"train/0001.png": "ab"}
