"""A person's word outlives the run's files, its folder, its task and its sources, and none is dropped unseen."""

from __future__ import annotations

import csv
import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bitmaps
import pytest
from PIL import Image
from served import undo

import iclora
from iclora import review
from iclora.page.judging import Typed
from iclora.page.others import base_of
from iclora.page.session import ReviewSession
from iclora.run import Run
from pipeline.errors import BadInput
from pipeline.records import Row
from pipeline.review import csv_table, decisions, taking
from pipeline.review.decisions import Taken
from pipeline.task import Task

ROOT = Path(__file__).parents[2]
MINE = "[MOVIE-SHOTS] Mine, [SCENE-1] my first words, [SCENE-2] my second words, [SCENE-3] my third words."
FOLDERS = "abcd"


def open_run(source: Path, folder: Path, task: str | Path = "storyboard") -> Run:
    return iclora.open_run(task, source, settings=bitmaps.SMALL, captioner="sidecar", scorer="none", folder=folder)


def films(home: Path, names: str = FOLDERS) -> Path:
    bitmaps.folders(home, names, 4)
    for path in home.rglob("*.bmp"):
        path.with_suffix(".txt").write_text(f"picture {path.stem} of folder {path.parent.name} is seen")
    return home


def of_folder(run: Run) -> dict[str, Row]:
    return {Path(row.grid.group.records[0].source).parent.name: row for row in run.reviewed()}


def decide(run: Run) -> None:
    """A drop, a caption, an exchanged picture with a note, and a decision taken back."""
    session, rows = ReviewSession(run), of_folder(run)
    given = {name: (row.id, base_of(row)) for name, row in rows.items()}
    session.decide(*given["a"], "drop", "too dark")
    session.edit(*given["b"], Typed(MINE), "keep")
    (offer, *_) = session.offers(rows["c"], 1)
    session.replace(*given["c"], 1, offer.record.id)
    row = session.row(rows["c"].id)
    session.edit(row.id, base_of(row), Typed(MINE.replace("Mine", "Also mine")), "keep")
    step = session.decide(*given["d"], "unsure", "perhaps")
    assert step
    undo(session, step.number)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with films and a run on them that a person has reviewed."""
    home = tmp_path_factory.mktemp("lasting")
    with open_run(films(home / "films"), home / "run") as run:
        run.advance()
        decide(run)
        run.advance(start="filter")
    return home


@pytest.fixture
def home(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built / "run", tmp_path / "run")
    shutil.copytree(built / "films", tmp_path / "films")
    return tmp_path


def said(run: Run) -> dict[str, tuple[str, str, str]]:
    return {
        name: (row.decision, row.review.note, row.caption.text) for name, row in of_folder(run).items() if row.review
    }


def state(run: Run) -> dict[str, Any]:
    """All that a run shows, but for how long it took."""
    run.write_review()
    texts = [path.read_text(encoding="utf-8") for path in sorted(run.dataset.glob("*/*.txt"))]
    frames = [run.rows(), run.rejected(), run.scores(), run.unmatched()]
    return {
        "said": said(run),
        "frames": [frame.to_csv(index=False) for frame in frames],
        "table": (run.folder / "captions.csv").read_bytes(),
        "events": run.table("events"),
        "data set": texts,
    }


@pytest.fixture(scope="module")
def expected(built: Path) -> dict[str, Any]:
    with iclora.open_run("storyboard", folder=built / "run", must_exist=True) as run:
        return state(run)


def lines(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.splitlines()]


# ---- everything else in a run may go


DERIVED = ["run.db", "grids", "captions.csv", "review.html", "review-page.html", "report.json", "dataset", "cache"]
DERIVED += ["collected"]


@pytest.mark.parametrize("gone", [*([name] for name in DERIVED), DERIVED, ["everything"], ["emptied"]], ids=str)
def test_what_is_deleted_comes_back_by_the_same_command_as_it_was(
    built: Path, home: Path, gone: list[str], expected: dict[str, Any]
) -> None:
    folder = home / "run"
    kept = (folder / "decisions.jsonl").read_bytes()
    for path in list(folder.iterdir()):
        everything = gone == ["everything"] and path.name != "decisions.jsonl"
        if path.name in gone or everything:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if gone == ["emptied"]:
        (folder / "run.db").write_bytes(b"")
    with open_run(built / "films", folder) as run:
        run.advance()
        assert state(run) == expected
    assert (folder / "decisions.jsonl").read_bytes() == kept
    for name in ("grids", "captions.csv", "review.html", "review-page.html", "report.json", "dataset", "run.db"):
        assert (folder / name).exists(), name


def test_what_a_run_was_asked_for_outlives_its_database(home: Path) -> None:
    with iclora.open_run("storyboard", folder=home / "run", settings={"seed": 9}) as run:
        run.advance("inspect")
        before = run.settings
    (home / "run" / "run.db").unlink()
    assert iclora.open_run("storyboard", folder=home / "run").settings == before


def test_a_run_whose_database_is_gone_is_still_no_source(home: Path) -> None:
    (home / "run" / "run.db").unlink()
    with open_run(home, home / "other") as run:
        run.advance("collect")
        assert {Path(row["source"]).parts[-3] for row in run.table("collected")} == {"films"}


def test_a_command_that_needs_the_tables_says_that_they_are_gone(
    iclora: Callable[..., tuple[int, str, str]], home: Path
) -> None:
    (home / "run" / "run.db").unlink()
    code, output, errors = iclora("review", "storyboard", "--out", "run")
    assert (code, output) == (2, "")
    assert "'iclora dataset storyboard --out run' derives them again, and nothing that you decided is lost" in errors
    with open_run(home / "films", home / "run") as run:
        with pytest.raises(BadInput, match="has nothing that the stage filter could begin with"):
            run.advance(start="filter")
        with pytest.raises(BadInput, match=r"has no captions yet; .* finds what you have decided before"):
            run.apply(home / "run" / "captions.csv")


# ---- found again by content


def fresh(home: Path, source: Path, task: str | Path = "storyboard") -> Run:
    """A new run that is given the decisions of the other."""
    (home / "new").mkdir()
    shutil.copy(home / "run" / "decisions.jsonl", home / "new")
    run = open_run(source, home / "new", task)
    run.advance()
    return run


def archive(home: Path) -> Path:
    with zipfile.ZipFile(home / "films.zip", "w") as packed:
        for path in sorted((home / "films").rglob("*.*")):
            packed.write(path, path.relative_to(home / "films"))
    return home / "films.zip"


def renamed(home: Path) -> Path:
    return (home / "films").rename(home / "another name")


def recompressed(home: Path) -> Path:
    for path in (home / "films").rglob("*.bmp"):
        Image.open(path).save(path.with_suffix(".png"))
        path.unlink()
    return home / "films"


@pytest.mark.parametrize("moved", [archive, renamed], ids=lambda way: way.__name__)
def test_decisions_copied_into_a_new_run_count_for_the_same_pictures(
    home: Path, moved: Callable[[Path], Path], expected: dict[str, Any]
) -> None:
    with fresh(home, moved(home)) as run:
        assert said(run) == expected["said"]
        assert run.unmatched().empty


def test_pictures_with_other_bytes_that_look_the_same_are_recognised(home: Path, expected: dict[str, Any]) -> None:
    with fresh(home, recompressed(home)) as run:
        # The picture that a person has put into c is known by its bytes alone.
        assert said(run) == {name: found for name, found in expected["said"].items() if name != "c"}
        assert run.unmatched()["why"].tolist() == ["the picture that was put into panel 2 is not in this run"]


def test_a_task_of_another_name_finds_the_decisions_too(home: Path, expected: dict[str, Any]) -> None:
    own = home / "my-storyboard.toml"
    content = (ROOT / "pipeline" / "tasks" / "storyboard.toml").read_text(encoding="utf-8")
    own.write_text(content.replace('name = "storyboard"', 'name = "my-storyboard"'), encoding="utf-8")
    with fresh(home, home / "films", own) as run:
        assert said(run) == expected["said"]


def test_decisions_of_two_runs_can_be_joined(home: Path, expected: dict[str, Any]) -> None:
    films(home / "films", "e")
    with open_run(home / "films" / "e", home / "second") as second:
        second.advance()
        second.apply(second.rows()[["id"]].assign(decision="drop", note="blurred"))
    with (home / "run" / "decisions.jsonl").open("ab") as joined:
        joined.write((home / "second" / "decisions.jsonl").read_bytes())
    with open_run(home / "films", home / "run") as run:
        run.advance()
        assert {name: found[:2] for name, found in said(run).items()} == {
            **{name: found[:2] for name, found in expected["said"].items()},
            "e": ("drop", "blurred"),
        }


# ---- what fits nothing is kept and told


def test_decisions_that_fit_no_grid_are_told_and_count_again_when_they_fit(
    iclora: Callable[..., tuple[int, str, str]], home: Path, expected: dict[str, Any]
) -> None:
    for name in "ab":
        (home / "films" / name).rename(home / name)
    code, output, _ = iclora("dataset", "storyboard", "--source", "films", "--out", "run")
    assert code == 0
    assert (
        "2 of your decisions fit no grid of this run; they are kept in run/decisions.jsonl; list them: "
        "iclora show storyboard unmatched --out run\n"
    ) in output
    report = json.loads((home / "run" / "report.json").read_text(encoding="utf-8"))
    assert report["decisions"] == {"in force": 1, "unmatched": 2}
    listed = json.loads(iclora("show", "storyboard", "unmatched", "--out", "run", "--json")[1])
    assert [(row["decision"], row["note"], row["caption"], row["why"]) for row in listed] == [
        ("drop", "too dark", "", "no grid of this run has these panels"),
        ("keep", "", MINE, "no grid of this run has these panels"),
    ]
    assert "too dark" in iclora("show", "storyboard", "unmatched", "--out", "run")[1]
    taking.say(home / "run", Taken("gone", True, "inspect", "too small", "/films/f.png"), "page")
    with open_run(home / "films", home / "run") as run:
        assert run.remarks()[0].startswith("3 of your decisions fit no grid or picture of this run; they are kept in")
        assert run.unmatched()[["decision", "panels", "why"]].to_numpy().tolist()[2:] == [
            ["taken in", "gone", "no picture of this run has this content"]
        ]
    taking.say(home / "run", Taken("gone", False, "inspect", "too small", "/films/f.png"), "page")
    for name in "ab":
        (home / name).rename(home / "films" / name)
    assert "of your decisions" not in iclora("dataset", "storyboard", "--source", "films", "--out", "run")[1]
    with open_run(home / "films", home / "run") as run:
        assert said(run) == expected["said"] and run.unmatched().empty


def test_a_torn_line_is_told_and_takes_no_other_along(home: Path, expected: dict[str, Any]) -> None:
    file = home / "run" / "decisions.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:100])
    with open_run(home / "films", home / "run") as run:
        run.advance()
        assert said(run) == expected["said"]
        (remark,) = run.remarks()
        torn = len(lines(whole)) + 1
        assert remark.startswith(f"line {torn} of {file} can't be read")
        run.apply(run.rows().query("panel_1.str.contains('folder d')")[["id"]].assign(decision="drop", note="late"))
        assert said(run)["d"][:2] == ("drop", "late")
    assert file.read_bytes().startswith(whole + whole[:100])


# ---- append-only


def test_undoing_adds_a_line_and_rewrites_none(home: Path) -> None:
    file = home / "run" / "decisions.jsonl"
    before = file.read_bytes()
    with open_run(home / "films", home / "run") as run:
        session, row = ReviewSession(run), of_folder(run)["a"]
        step = session.decide(row.id, base_of(row), "keep")
        assert step
        undo(session, step.number)
        assert run.reviewed() and of_folder(run)["a"] == row
    after = lines(file.read_bytes())
    assert file.read_bytes().startswith(before) and len(after) == len(lines(before)) + 2
    assert after[-1]["decided"] == {"decision": "drop", "note": "too dark"}
    assert {"field": "decision", "was": "keep", "becomes": "drop"} in after[-1]["changed"]


def test_a_decision_is_on_the_disk_before_anybody_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_run(home / "films", home / "run") as run:
        session, row = ReviewSession(run), of_folder(run)["d"]

        def full(*_: object) -> None:
            raise BadInput("decisions.jsonl can't be written")

        with monkeypatch.context() as patch:
            patch.setattr(decisions, "append", full)
            with pytest.raises(BadInput, match="can't be written"):
                session.decide(row.id, base_of(row), "keep")
        assert of_folder(run)["d"] == row and session.steps == []


# ---- captions.csv, edited while it is rewritten


def edited(table: Path, note: str) -> bytes:
    """Saves the table with a note in its first row, as a spreadsheet does."""
    rows = list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8-sig"), newline="")))
    rows[0]["note"] = note
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, list(rows[0]), quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    content = buffer.getvalue().encode()
    table.write_bytes(content)
    return content


@pytest.fixture
def run(home: Path) -> Iterator[Run]:
    with open_run(home / "films", home / "run") as run:
        yield run


def test_a_table_saved_just_before_it_is_replaced_is_set_aside(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    table, saved = run.folder / "captions.csv", b""
    written = csv_table.write_csv

    def write(found: list[Row], task: Task, path: Path) -> None:
        nonlocal saved
        written(found, task, path)
        saved = edited(table, "saved while the new table was written")

    monkeypatch.setattr(csv_table, "write_csv", write)
    run.write_review()
    assert run.set_aside and run.set_aside.read_bytes() == saved
    assert b"saved while" not in table.read_bytes()


def test_a_table_saved_while_the_new_one_takes_its_place_is_set_aside(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, saved, placed = run.folder / "captions.csv", [], review._placed

    def place(fresh: Path, table: Path) -> bool:
        if not saved:
            shutil.copy(fresh, table)
            saved.append(edited(table, "saved at the last moment"))
        return placed(fresh, table)

    monkeypatch.setattr(review, "_placed", place)
    run.write_review()
    assert run.set_aside and [run.set_aside.read_bytes()] == saved
    assert b"last moment" not in table.read_bytes()


def test_a_table_that_is_still_being_saved_when_it_is_looked_at_is_kept(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, saved = csv_table.has_edits, []

    def look(path: Path, found: list[Row], task: Task) -> bool:
        seen = looked(path, found, task)
        if not saved:
            saved.append(edited(path, "a program that had the file open"))
        return seen

    monkeypatch.setattr(csv_table, "has_edits", look)
    run.write_review()
    assert run.set_aside and [run.set_aside.read_bytes()] == saved


def test_a_command_killed_between_two_tables_loses_no_edit(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = edited(run.folder / "captions.csv", "an evening's work")

    def killed(*_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(csv_table, "has_edits", killed)
        with pytest.raises(KeyboardInterrupt):
            run.write_review()
    assert not (run.folder / "captions.csv").exists()
    run.write_review()
    assert run.set_aside and run.set_aside.read_bytes() == saved
    assert (run.folder / "captions.csv").exists() and not (run.folder / "captions.old.csv").exists()


def test_a_file_system_without_hard_links_will_do(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    before = (run.folder / "captions.csv").read_bytes()
    monkeypatch.setattr(review.os, "link", refused)
    run.write_review()
    assert (run.folder / "captions.csv").read_bytes() == before
    assert not list(run.folder.glob("captions.*.csv"))
