"""Runs over parts of the sources, and one run of them all: what it comes to is what one run over everything does."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import bitmaps
import filmed
import numpy as np
import pytest
from PIL import Image

import iclora
from iclora.run import Run
from pipeline.films.shots import FilmReader
from pipeline.stages import compose, inspect

CAPTIONER = Path(__file__).parents[1] / "toys" / "captioners" / "by_picture.py"
ASKED: dict[str, Any] = {"settings": bitmaps.SMALL, "captioner": str(CAPTIONER), "scorer": "none"}
STAGES = ("collect", "inspect", "group", "compose", "caption", "filter", "export")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of pictures, a film, and what is to be rejected: copies within and across folders, and no pictures."""
    home = bitmaps.folders(tmp_path_factory.mktemp("sharding") / "sources", "abcdefg", 4)
    shutil.copy(home / "a" / "1.bmp", home / "a" / "copy.bmp")
    shutil.copy(home / "a" / "1.bmp", home / "f" / "copy.bmp")
    with Image.open(home / "a" / "2.bmp") as picture:
        picture.save(home / "g" / "2 again.png")
    (home / "c" / "broken.jpg").write_bytes(b"\xff\xd8\xff and no more")
    (home / "e" / "9.png").write_text("no picture", encoding="utf-8")
    black = [np.zeros((108, 192, 3), np.uint8)] * 20
    filmed.write(home / "d film.mp4", [*filmed.shots((1, 2, 3), 0.8), *black, *filmed.shots((4, 5, 6), 0.8)])
    return home


@pytest.fixture(scope="module")
def whole(sources: Path) -> Path:
    """The run over everything at once."""
    with iclora.open_run("storyboard", sources, folder=sources.parent / "whole", **ASKED) as run:
        run.advance()
    return sources.parent / "whole"


@pytest.fixture(scope="module")
def done(sources: Path) -> Path:
    """Three parts, each of which has come to the end."""
    for one in iclora.shard("storyboard", sources, 3, folder=sources.parent / "parts", **ASKED):
        with iclora.open_run("storyboard", folder=one.folder) as run:
            run.advance()
    return sources.parent / "parts"


@pytest.fixture
def parts_of(done: Path, tmp_path: Path) -> list[Path]:
    """A copy of the three parts, for a test of its own."""
    shutil.copytree(done, tmp_path / "parts")
    return sorted((tmp_path / "parts").iterdir())


def tables(run: Run) -> dict[str, list[dict[str, Any]]]:
    """All rows of a run, but for times and what was in the cache."""
    found = {name: run.table(name) for name in run.store.counts()}
    for row in found["stages"]:
        row.update(seconds=0, facts="", fingerprint=row["name"] != "export" and row["fingerprint"])  # of its own path
    return found


def pictures(folder: Path) -> dict[str, bytes]:
    paths = [path for name in ("collected", "grids", "dataset") for path in (folder / name).rglob("*.*")]
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in paths if path.suffix in (".png", ".jpg", ".txt")
    }


# ---- merged


def test_merged_parts_are_row_for_row_and_byte_for_byte_what_one_run_over_everything_is(
    whole: Path, parts_of: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a part has done this")

    monkeypatch.setattr(FilmReader, "shots", never)
    monkeypatch.setattr(inspect, "measure", never)
    drawn: list[str] = []
    write = compose.write
    monkeypatch.setattr(compose, "write", lambda grid, *more: drawn.append(grid.id) or write(grid, *more))
    stages: list[str] = []
    run = iclora.merge("storyboard", parts_of, folder=tmp_path / "all", on_result=lambda one: stages.append(one.name))
    with run, iclora.open_run("storyboard", folder=whole) as once:
        assert stages == list(STAGES)
        assert tables(run) == tables(once)
        assert pictures(run.folder) == pictures(whole)
        assert run.settings == once.settings
        rejected = {(row.what.rpartition("/")[2], row.reason) for row in run.store.rejected("collect")}
        assert {("copy.bmp", "exact copy"), ("9.png", "unsupported"), ("d film.mp4 shot 3", "blank")} <= rejected
        assert ("broken.jpg", "unreadable") in {(row.what[-10:], row.reason) for row in run.store.rejected("inspect")}
        assert "same pixels in another file" in " ".join(row.detail for row in run.store.rejected("group"))
        before = {grid["id"] for part in parts_of for grid in ids(part, "grids")}
        assert set(drawn) == {row["id"] for row in run.table("grids")} - before
        facts = run.store.mark("caption")
        assert facts and facts.facts["asked"] == len(drawn)


def ids(folder: Path, table: str) -> list[dict[str, Any]]:
    with iclora.open_run("storyboard", folder=folder) as run:
        return run.table(table)
