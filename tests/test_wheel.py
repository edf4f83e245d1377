"""The wheel that is released: what lies in it, and that it works without the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
VERSION = PROJECT["project"]["version"]
FOLDERS = ("captioners", "iclora", "miniature", "pipeline", "training")
TASK = "couple-profile"
"""One whose material is drawn and captioned fast."""
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


def test_the_changelog_has_a_dated_section_of_this_version_below_what_is_unreleased() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first, second, *_ = [line for line in text.splitlines() if line.startswith("## ")]
    assert first == "## Unreleased"
    assert second.startswith(f"## {VERSION} - 20")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, since a build folder left by an earlier one would add files that are no longer there."""
    home = tmp_path_factory.mktemp("release")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, home / folder, ignore=shutil.ignore_patterns("__pycache__", ".training"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, home)
    subprocess.run([sys.executable, "-c", BUILD, str(home / "dist")], cwd=home, check=True, capture_output=True)
    (built,) = (home / "dist").glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_has_the_models_and_the_types_and_leaves_out_what_makes_the_miniature(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert wheel.name.startswith(f"iclora-{VERSION}-")
    assert {f"{folder}/py.typed" for folder in FOLDERS} <= names
    assert {
        "miniature/clip/open_clip_config.json",
        "miniature/vlm/config.json",
        "miniature/flux/vae/config.json",
    } <= names
    assert not [name for name in names if "making" in name or name.startswith(("tests/", "bench/"))]
    assert {name for name in names if name.startswith("miniature/") and name.count("/") == 1} == {
        f"miniature/{name}"
        for name in (
            *("__init__.py", "README.md", "draw.py", "figures.py", "film.py", "pen.py", "places.py", "props.py"),
            *("py.typed", "world.py"),
        )
    }


@pytest.mark.slow
def test_an_empty_environment_needs_nothing_but_the_wheel(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "environment", with_pip=True)
    programs, elsewhere = tmp_path / "environment" / ("Scripts" if os.name == "nt" else "bin"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def typed(*words: str) -> str:
        return subprocess.run(
            words, cwd=elsewhere, env=environment, check=True, capture_output=True, encoding="utf-8"
        ).stdout

    typed(str(programs / "python"), "-m", "pip", "install", "--quiet", str(wheel))
    assert typed(str(programs / "iclora"), "--version") == f"iclora {VERSION}\n"
    assert "storyboard " in typed(str(programs / "iclora"), "tasks")
    assert list(elsewhere.iterdir()) == []


@pytest.mark.slow
def test_a_run_without_sources_and_a_training_on_the_miniature_need_only_the_wheel(wheel: Path, tmp_path: Path) -> None:
    packages, elsewhere = tmp_path / "packages", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    environment = {**os.environ, "PYTHONPATH": str(packages), "HF_HUB_OFFLINE": "1"}

    def typed(*words: str) -> str:
        command = [sys.executable, "-m", *words]
        return subprocess.run(
            command, cwd=elsewhere, env=environment, check=True, capture_output=True, encoding="utf-8"
        ).stdout

    code = "import iclora, miniature; print(iclora.__file__, miniature.__file__)"
    found = subprocess.check_output([sys.executable, "-c", code], cwd=elsewhere, env=environment, encoding="utf-8")
    assert all(file.startswith(str(packages)) for file in found.split())
    typed("iclora", "dataset", TASK)
    assert "trained: 2 steps" in typed("iclora", "train", TASK, "--set", "train.steps=2")
    assert (elsewhere / "runs" / TASK / "training" / f"{TASK}.safetensors").exists()
