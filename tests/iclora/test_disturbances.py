"""Whatever disturbs a run, the same command then gives the decisions and tables of an undisturbed one."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bitmaps
import disturbed
import pytest
from disturbed import Runner

import iclora
from iclora.run import Run
from pipeline.errors import BadInput
from pipeline.review import decisions

FOLDERS = "abcdef"
OFTEN = ("compose", "export", "decide")
"""What is cut off as often as all the rest."""
MINE = "[MOVIE-SHOTS] Mine, [SCENE-1] my first words, [SCENE-2] my second words, [SCENE-3] my third words."
SAID = {"a": ("drop", "too dark"), "b": ("keep", "")}


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with disturbed.runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bitmaps.folders(tmp_path_factory.mktemp("disturbed") / "films", FOLDERS)


@pytest.fixture(scope="module")
def table(films: Path) -> Path:
    """A person's decisions on an undisturbed run, as a table."""
    with disturbed.open_run(films, films.parent / "first") as run:
        run.advance()
        rows = run.rows()
        where = {Path(row.grid.group.records[0].source).parent.name: row.id for row in run.reviewed()}
        rows.loc[rows["id"] == where["a"], ["decision", "note"]] = SAID["a"]
        rows.loc[rows["id"] == where["b"], "caption"] = MINE
        path = films.parent / "edited.csv"
        rows.to_csv(path, index=False)
        return path


@pytest.fixture(scope="module")
def moments(runner: Runner, films: Path, table: Path) -> list[str]:
    """What an undisturbed run does at each of its moments."""
    ended = runner.run(films, films.parent / "undisturbed", table)
    assert (ended.killed, ended.error) == (False, "")
    return ended.moments


@pytest.fixture(scope="module")
def expected(films: Path, moments: list[str]) -> dict[str, Any]:
    return state(films, films.parent / "undisturbed")


def state(films: Path, folder: Path) -> dict[str, Any]:
    """All tables of a run, its decisions and its files, but for times."""
    assert not list(folder.glob("captions.*.csv"))  # nothing was set aside: nobody has edited anything
    with disturbed.open_run(films, folder) as run:
        tables = {name: run.table(name) for name in run.store.counts()}
        for row in tables["stages"]:  # times, what was in the cache, and a hash of the run's own path
            row.update(seconds=0, facts="", fingerprint="")
        said = [{**row, "at": ""} for name in ("decisions", "events") for row in run.table(name)]
        files = [path for path in folder.rglob("*.*") if path.suffix in (".png", ".txt", ".csv", ".jsonl")]
        files = [path for path in files if path.name != "decisions.jsonl" and "cache" not in path.parts]
        content = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(files)}
        parts = [path.name for path in folder.rglob("*.part") if "cache" not in path.parts]
        return {"tables": tables, "said": said, "files": content, "parts": parts, "unmatched": len(run.unmatched())}


def of_folder(run: Run) -> dict[str, tuple[str, str]]:
    rows = {Path(row.grid.group.records[0].source).parent.name: row for row in run.reviewed()}
    return {name: (row.decision, row.review.note) for name, row in rows.items() if row.review}


def contents(folder: Path) -> dict[Path, bytes]:
    return {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".lock", ".db-shm")
    }


# ---- killed


def chosen(moments: list[str], count: int) -> list[int]:
    """Moments at random; within each of `OFTEN` a sixth of them at least."""
    rng, found = random.Random(count), set[int]()
    for name in OFTEN:
        found |= set(rng.sample([number for number, doing in enumerate(moments) if doing == name], count // 6))
    rest = [number for number in range(len(moments)) if number not in found]
    return sorted(found | set(rng.sample(rest, count - len(found))))


@pytest.mark.slow
def test_a_run_killed_at_any_moment_comes_to_the_same_end(
    runner: Runner, films: Path, table: Path, moments: list[str], expected: dict[str, Any], tmp_path: Path
) -> None:
    met = set()
    for number in chosen(moments, 30):
        folder = tmp_path / str(number)
        killed = runner.run(films, folder, table, until=number)
        assert killed.killed, number
        met.add(killed.moments[-1])
        again = runner.run(films, folder, table)
        assert (again.killed, again.error) == (False, ""), number
        assert state(films, folder) == expected, (number, killed.moments[-1])
        shutil.rmtree(folder)
    assert met >= set(OFTEN)


def test_a_run_killed_again_and_again_comes_to_the_same_end(
    runner: Runner, films: Path, table: Path, moments: list[str], expected: dict[str, Any], tmp_path: Path
) -> None:
    rng, folder = random.Random(7), tmp_path / "run"
    for _ in range(4):
        runner.run(films, folder, table, until=rng.randrange(len(moments) // 2))
    assert runner.run(films, folder, table).error == ""
    assert state(films, folder) == expected


# ---- a full disk


def test_a_full_disk_ends_a_run_in_one_sentence_and_loses_nothing(
    runner: Runner, films: Path, table: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    for most in (100, 3_000, 60_000):
        folder = tmp_path / str(most)
        full = runner.run(films, folder, table, most=most)
        assert not full.killed and full.error and "\n" not in full.error, most
        again = runner.run(films, folder, table)
        assert (again.killed, again.error) == (False, "")
        assert state(films, folder) == expected, most


# ---- two commands at once


@pytest.fixture
def home(films: Path, table: Path, moments: list[str], tmp_path: Path) -> Path:
    """A folder with films and the undisturbed run of others like them."""
    shutil.copytree(films, tmp_path / "films")
    shutil.copytree(films.parent / "undisturbed", tmp_path / "run")
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ("dataset", "--source", "films/a", "--set", "seed=5"),
        ("filter", "--captioner", "sidecar"),
        ("review",),
        ("review", "--apply", "mine.csv"),
    ],
    ids=" ".join,
)
def test_of_two_commands_the_second_is_refused_and_changes_nothing(
    iclora: Callable[..., tuple[int, str, str]], home: Path, words: tuple[str, ...]
) -> None:
    with disturbed.open_run(home / "films", home / "run") as run:
        run.advance()
        run.rows().assign(note="another").to_csv("mine.csv", index=False)
        before = contents(home / "run")
        with run.store.working():
            command, *options = words
            code, output, errors = iclora(command, "storyboard", "--out", "run", *options)
        assert (code, output) == (2, "")
        assert errors.startswith("error: another process is at work in run: ") and errors.count("\n") == 1
        after = contents(home / "run")
        log = after.pop(home / "run" / "log.jsonl", b"")
        assert after == before
        assert b"another process is at work" in log


# ---- the clock


def test_a_clock_set_back_changes_no_decision(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Earlier(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Earlier:
            return cls(1999, 1, 1, tzinfo=UTC)

    monkeypatch.setattr(decisions, "datetime", Earlier)
    with disturbed.open_run(home / "films", home / "run") as run:
        run.advance()
        rows = run.rows().set_index("id")
        mine = rows.index[rows["note"] == "too dark"]
        run.apply(rows.loc[mine].reset_index()[["id"]].assign(decision="keep", note="bright after all"))
        assert of_folder(run)["a"] == ("keep", "bright after all")
        assert run.table("events")[-1]["at"].startswith("1999")
    (home / "run" / "run.db").unlink()
    with disturbed.open_run(home / "films", home / "run") as run:
        run.advance()
        assert of_folder(run)["a"] == ("keep", "bright after all")


# ---- the sources


def test_sources_that_are_deleted_and_put_back_find_their_decisions_again(home: Path) -> None:
    films, run_folder = home / "films", home / "run"
    (films / "a").rename(home / "a")
    with disturbed.open_run(films, run_folder) as run:
        run.advance()
        assert of_folder(run) == {"b": SAID["b"]} and len(run.unmatched()) == 1
    (home / "a").rename(films / "a")
    with disturbed.open_run(films, run_folder) as run:
        run.advance()
        assert of_folder(run) == SAID and run.unmatched().empty


def test_pictures_that_are_changed_have_no_decision_until_they_are_as_they_were(home: Path) -> None:
    films, run_folder = home / "films", home / "run"
    before = (films / "b" / "2.bmp").read_bytes()
    bitmaps.write(films / "b" / "2.bmp", 12345)
    with disturbed.open_run(films, run_folder) as run:
        run.advance()
        assert of_folder(run) == {"a": SAID["a"]}
        assert run.unmatched()["caption"].tolist() == [MINE]
    (films / "b" / "2.bmp").write_bytes(before)
    with disturbed.open_run(films, run_folder) as run:
        run.advance()
        assert of_folder(run) == SAID


@pytest.mark.slow
def test_a_run_whose_sources_are_all_gone_keeps_its_tables_and_takes_decisions(home: Path) -> None:
    with disturbed.open_run(home / "films", home / "run") as run:
        run.advance()
    shutil.rmtree(home / "films")
    with iclora.open_run("storyboard", folder=home / "run") as run:
        before = contents(home / "run")
        with pytest.raises(BadInput, match="does not exist"):
            run.advance()
        assert contents(home / "run") == before
        run.apply(run.rows().query("not decided")[["id"]].head(1).assign(decision="drop", note="late"))
        run.advance(start="filter")
        assert sorted(of_folder(run).values()) == sorted([*SAID.values(), ("drop", "late")])
