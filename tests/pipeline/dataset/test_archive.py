"""One archive of a data set: the same bytes for the same files, checked where it arrives."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from io import BufferedReader
from pathlib import Path

import pytest

from pipeline import files
from pipeline.dataset import archive, checksums
from pipeline.errors import BadInput


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "dataset"
    (home / "train").mkdir(parents=True)
    names = ["TRAINERS.md", "kohya.toml", "train/0001.png"]
    for name in names:
        (home / name).write_text(f"content of {name}")
    checksums.write(home, names)
    (home / "kohya.toml").write_text("a path that was filled in")
    (home / "train/0001_flux.npz").write_text("a trainer's cache")
    return home


def test_the_same_files_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    first = archive.pack(folder, tmp_path / "a.tar", "storyboard").read_bytes()
    other = Path(shutil.copytree(folder, tmp_path / "elsewhere"))
    for file in other.rglob("*"):
        os.utime(file, (1, 1))
        file.chmod(0o700)
    assert archive.pack(other, tmp_path / "b.tar", "storyboard").read_bytes() == first


def test_an_archive_has_the_files_as_they_are_and_can_be_checked(folder: Path, tmp_path: Path) -> None:
    with tarfile.open(archive.pack(folder, tmp_path / "a.tar", "storyboard")) as tar:
        tar.extractall(tmp_path / "there", filter="data")
    home = tmp_path / "there" / "storyboard"
    packed = {path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()}
    assert packed == {"SHA256SUMS", "TRAINERS.md", "kohya.toml", "train/0001.png"}
    assert (home / "kohya.toml").read_text() == "a path that was filled in"
    for name, value in checksums.read(home).items():
        assert files.digest(home / name) == value
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=home, check=True)


def test_a_data_set_that_is_written_anew_while_it_is_packed_is_told_and_the_archive_stays(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a.tar"
    before = archive.pack(folder, target, "storyboard").read_bytes()
    really = files.open_regular

    def open_regular(path: Path, most: int | None = None) -> BufferedReader:
        if path.suffix == ".png":  # another command exports
            (folder / checksums.FILE).write_text(checksums.listing({"train/0002.png": "another grid"}))
        return really(path, most)

    monkeypatch.setattr(files, "open_regular", open_regular)
    with pytest.raises(BadInput, match="was written anew while it was being packed; type the same again"):
        archive.pack(folder, target, "storyboard")
    assert target.read_bytes() == before and not list(tmp_path.glob("*.part"))
