"""Runs of earlier versions: what people decided in them counts in this one, and the rest is derived again."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import bitmaps
import pytest

import iclora
from iclora import earlier
from iclora.run import Run
from pipeline.errors import BadInput
from pipeline.review import decisions
from pipeline.store import Store, is_current, read_settings

DUMPS = Path(__file__).parents[1] / "data" / "earlier"
MINE = "[MOVIE-SHOTS] Mine, [SCENE-1] my first words, [SCENE-2] my second words, [SCENE-3] my third words."


def restore(dump: str, folder: Path) -> Path:
    """The `run.db` that a version has left."""
    folder.mkdir()
    with closing(sqlite3.connect(folder / "run.db")) as db:
        db.executescript((DUMPS / f"{dump}.sql").read_text(encoding="utf-8"))
    return folder


@pytest.fixture(params=["release", "before-decisions"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return restore(request.param, tmp_path / "run")


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """The run's pictures, in another place than then."""
    films = bitmaps.folders(tmp_path / "moved", "abcde")
    for path in films.rglob("*.bmp"):
        path.with_suffix(".txt").write_text(f"picture {path.stem} of folder {path.parent.name} is seen")
    return films


def said(run: Run) -> dict[str, tuple[str, str, str]]:
    """By folder, decision, note and caption of the grids that people have said something about."""
    found = {}
    for row in run.reviewed():
        if row.review:
            name = Path(row.grid.group.records[0].source).parent.name
            found[name] = (row.decision, row.review.note, row.review.text)
    return found


def test_decisions_in_a_run_of_an_earlier_version_count_in_this_one(old: Path, films: Path) -> None:
    before = (old / "run.db").read_bytes()
    with iclora.open_run("storyboard", films, folder=old) as run:
        assert run.settings.captioner == "sidecar"
        assert run.task.group.prove is False
        run.advance()
        found = said(run)
        assert found["a"] == ("drop", "too dark", "")
        assert found["b"] == ("keep", "", MINE)
        assert found.keys() == {"a", "b", "c"}
        swapped = next(row for row in run.reviewed() if row.review and row.review.panels)
        assert [Path(record.source).stem for record in swapped.grid.group.records] == ["3", "2", "1"]
        assert "[SCENE-1] picture 3 of folder c" in swapped.caption.text
        assert (run.folder / swapped.grid.path).is_file()
        events = [(event["who"], event["field"], event["becomes"]) for event in run.table("events")]
        assert events.count(("page", "note", "too dark")) == 1
        assert ("page", "note", "perhaps") in events and ("page", "note", "") in events  # and taken back
        assert run.unmatched().empty
        assert run.earlier == old / "run.earlier-1.db" and run.earlier.read_bytes() == before
        assert any("run.db was damaged or made by another version" in remark for remark in run.remarks())
    with iclora.open_run("storyboard", folder=old) as run:
        assert not any(result.worked for result in run.advance())
        assert said(run) == found and run.earlier is None


def test_the_fixed_thresholds_of_the_last_release_are_a_setting_now(tmp_path: Path) -> None:
    run = iclora.open_run("storyboard", folder=restore("release", tmp_path / "run"))
    assert run.task.filter.fixed and run.settings.sources == ("/home/user/films",)
    assert not (run.folder / "decisions.jsonl").exists()  # opening alone changes nothing


def test_a_command_that_needs_the_tables_says_how_to_have_them_derived_again(old: Path) -> None:
    before = sorted(old.iterdir())
    message = (
        r"made by another version of iclora; 'iclora dataset storyboard --out \S+' derives them again, and nothing"
    )
    with pytest.raises(BadInput, match=message):
        iclora.open_run("storyboard", folder=old, must_exist=True)
    assert sorted(old.iterdir()) == before


def test_taking_decisions_over_can_be_cut_off_and_repeated(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(_: Path) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(earlier, "_move", killed)
        with pytest.raises(KeyboardInterrupt):
            earlier.carry_over(old)
    once = (old / decisions.FILE).read_bytes()
    assert earlier.carry_over(old) == old / "run.earlier-1.db"
    assert (old / decisions.FILE).read_bytes() == once
    assert (read_settings(old) or {})["captioner"] == "sidecar"
    assert earlier.carry_over(old) is None


def test_decisions_on_grids_that_the_earlier_run_no_longer_had_are_taken_over_too(old: Path) -> None:
    with closing(sqlite3.connect(old / "run.db")) as db, db:
        db.execute("DELETE FROM grids")
    earlier.carry_over(old)
    assert len(decisions.read(old).latest()) == 3


def test_a_run_that_another_process_works_on_is_not_taken_over(old: Path) -> None:
    with closing(sqlite3.connect(old / "working.lock", isolation_level=None)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        with pytest.raises(BadInput, match=r"another process is at work in .*; wait for it"):
            earlier.carry_over(old)
    assert (old / "run.db").exists() and not (old / decisions.FILE).exists()


def test_a_stranger_s_database_is_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "run.db")) as db, db:
        db.execute("CREATE TABLE recipes (name TEXT)")
    before = (tmp_path / "run.db").read_bytes()
    with pytest.raises(BadInput, match=r"is not a run of this version of iclora"):
        _ = iclora.open_run("storyboard", folder=tmp_path).store
    assert (tmp_path / "run.db").read_bytes() == before


def test_a_damaged_database_of_a_run_is_set_aside_and_derived_again(old: Path, films: Path) -> None:
    with iclora.open_run("storyboard", films, folder=old) as run:
        run.advance()
        found = said(run)
    content = (old / "run.db").read_bytes()
    (old / "run.db").write_bytes(b"scrap" + content[5:])
    shutil.rmtree(old / "grids")
    with iclora.open_run("storyboard", folder=old) as run:
        run.advance()
        assert said(run) == found
        assert run.earlier == old / "run.earlier-2.db"


def test_a_database_that_is_only_held_by_another_program_is_not_set_aside(tmp_path: Path) -> None:
    with Store(tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / "run.db", isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        assert is_current(tmp_path) and earlier.carry_over(tmp_path) is None
