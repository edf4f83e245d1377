"""A run from Python: opened, brought to any stage, read as frames, decided on, and continued by the command line."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Literal, get_origin

import pandas as pd
import pytest

import iclora
from iclora.run import Run
from iclora.stages import STAGES
from miniature import film
from miniature.world import draw_scene
from pipeline.errors import BadInput

ROOT = Path(__file__).parents[2]
TEXT = "[MOVIE-SHOTS] By hand, [SCENE-1] a first thing, [SCENE-2] a second thing, [SCENE-3] a third thing."


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three folders of three images, each with a text, and an image that can't be read."""
    home = tmp_path_factory.mktemp("films")
    for folder in ("dawn", "day", "night"):
        for number in range(1, 4):
            path = film.picture(draw_scene(Random(f"{folder} {number}")), home / folder / f"{number}.png", (320, 160))
            path.with_suffix(".txt").write_text(f"part {number} of the {folder} is told", encoding="utf-8")
    (home / "day" / "4.png").write_bytes(b"no image")
    return home


@pytest.fixture
def run(films: Path, tmp_path: Path) -> Iterator[Run]:
    settings = {"group.floor": 0, "group.near": 0, "group.ceiling": 1}
    with iclora.open_run(
        "storyboard", films, settings=settings, captioner="sidecar", scorer="none", folder=tmp_path / "run"
    ) as run:
        yield run


# ---- the stages


def test_a_run_is_brought_to_any_stage_and_no_further(run: Run) -> None:
    assert not run.exists
    results = run.advance("group")
    assert [result.name for result in results] == ["collect", "inspect", "group"]
    assert all(result.worked for result in results)
    assert run.exists and not (run.folder / "grids").exists()
    assert [result.worked for result in run.advance("compose")] == [False, False, False, True]


def test_a_result_accounts_for_every_input(run: Run) -> None:
    results = run.advance()
    assert all(result.entered == result.kept + sum(result.rejected.values()) for result in results)
    assert sum(sum(result.rejected.values()) for result in results[:2]) == 1  # the unreadable image


def test_progress_and_results_are_reported_as_they_come(run: Run) -> None:
    seen: list[tuple[str, int, int]] = []
    finished: list[str] = []
    run.advance(progress=lambda *said: seen.append(said), on_result=lambda result: finished.append(result.name))
    assert finished == list(STAGES)
    for stage in STAGES:
        counts = [(done, total) for name, done, total in seen if name == stage]
        assert counts == sorted(counts) and counts[-1][0] == counts[-1][1]


@pytest.mark.parametrize("stages", [{"to": "filtre"}, {"start": "begin"}])
def test_an_unknown_stage_is_answered_with_the_known_ones(run: Run, stages: dict[str, str]) -> None:
    with pytest.raises(BadInput, match=r"no stage named '\w+' \(there are collect, inspect, group"):
        run.advance(**stages)


def test_the_settings_of_a_run_are_known_when_it_is_opened_again(run: Run, films: Path) -> None:
    run.advance("group")
    again = iclora.open_run("storyboard", folder=run.folder, settings={"seed": 4})
    assert again.settings.sources == (str(films),)
    assert again.settings.overrides == run.settings.overrides | {"seed": 4}
    assert (again.settings.captioner, again.task.seed) == ("sidecar", 4)


def test_opening_a_run_that_must_exist_creates_none(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is no run in "):
        iclora.open_run("storyboard", folder=tmp_path / "none", must_exist=True)
    assert not (tmp_path / "none").exists()


def test_opening_a_run_writes_nothing(tmp_path: Path) -> None:
    with iclora.open_run("storyboard", folder=tmp_path / "none") as run:
        assert run.task.name == "storyboard"
        assert "<image: panel 1, 1024 x 512>" in run.prompt()
    assert not (tmp_path / "none").exists()


def test_the_tables_of_a_run_can_be_read_even_after_its_task_file_is_gone(films: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text((ROOT / "pipeline" / "tasks" / "storyboard.toml").read_text(encoding="utf-8"), encoding="utf-8")
    with iclora.open_run(own, films, captioner="sidecar", scorer="none", folder=tmp_path / "run") as run:
        run.advance("inspect")
    own.unlink()
    with iclora.open_run(own, folder=tmp_path / "run", must_exist=True) as run:
        assert run.counts()["records"] == 9 and len(run.rejected()) == 1
        with pytest.raises(BadInput, match=r"own\.toml can't be read"):
            run.advance("inspect")
    with pytest.raises(BadInput, match=r"own\.toml can't be read"):
        iclora.open_run(own, folder=tmp_path / "run", settings={"seed": 1})


# ---- tables


def test_rows_scores_and_rejections_are_frames(run: Run) -> None:
    run.advance("filter")
    rows = run.rows()
    assert len(rows) == 3 and rows["id"].is_unique
    assert list(rows.columns[:4]) == ["id", "decision", "decided", "caption"]
    assert {"summary", "panel_1", "panel_3", "people", "note", "problems", "picture", "base"} <= set(rows.columns)
    assert not rows["decided"].any()
    assert all((run.folder / picture).is_file() for picture in rows["picture"])
    rejected = run.rejected()
    assert list(rejected.columns) == ["stage", "id", "what", "reason", "detail"]
    assert len(rejected) == sum(sum(result.rejected.values()) for result in run.advance("filter"))
    assert rejected["what"].str.endswith("day/4.png").any()
    assert list(run.scores().columns) == ["grid", "name", "value", "threshold", "passed", "reason"]


def test_frames_of_a_run_without_rows_have_their_columns(run: Run) -> None:
    assert (len(run.rows()), len(run.scores()), len(run.rejected())) == (0, 0, 0)
    assert {"id", "decision", "caption", "panel_2"} <= set(run.rows().columns)


def test_every_table_is_read_as_plain_values(run: Run) -> None:
    run.advance("compose")
    for name, count in run.counts().items():
        assert len(run.table(name)) == count
    assert {row["from"] for row in run.table("settings")} == {"run", "task file", "default"}
    with pytest.raises(BadInput, match="no table named 'grid'"):
        run.table("grid")


# ---- decisions


def captions(run: Run) -> list[str]:
    return sorted(path.read_text(encoding="utf-8") for path in run.dataset.glob("*/*.txt"))


def test_an_edited_frame_is_applied_like_an_edited_table(run: Run) -> None:
    run.advance()
    rows = run.rows()
    assert run.apply(rows) == []
    rows.loc[0, ["decision", "note"]] = ["drop", "too dark"]
    rows.loc[1, "caption"] = TEXT
    expected = run.edits(rows)
    assert len(run.apply(rows)) == len(expected) == 2
    run.advance(start="filter")
    assert len(captions(run)) == 2 and TEXT in captions(run)
    assert {event["who"] for event in run.table("events")} == {"python"}
    again = run.rows().set_index("id")
    assert again.loc[rows.loc[0, "id"], ["decision", "note", "decided"]].tolist() == ["drop", "too dark", True]


def test_a_frame_with_some_of_the_grids_and_columns_leaves_the_others_alone(run: Run) -> None:
    run.advance()
    mine = run.rows()["id"][2]
    for frame in (
        pd.DataFrame({"id": [mine], "decision": ["unsure"]}),
        pd.DataFrame({"decision": ["drop"], "note": [None]}, index=pd.Index([mine], name="id")),
    ):
        (change,) = run.apply(frame)
        assert change.review.grid == mine
    assert run.decided() == {mine: False}


def test_a_table_and_a_frame_of_it_make_the_same_changes(run: Run) -> None:
    run.advance()
    table = pd.read_csv(run.folder / "captions.csv", dtype=str, keep_default_na=False)
    table.loc[0, "panel_2"] = "another thing that is seen"
    table.to_csv(run.folder / "edited.csv", index=False)
    assert run.edits(run.folder / "edited.csv") == run.edits(table) != []


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"decision": ["keep"]}), r"the frame has no column 'id' \(it has decision\)"),
        (pd.DataFrame({"id": ["g-0"], "decision": ["keep"]}), "row 1, id: 'g-0' is not a grid of this run"),
    ],
)
def test_a_frame_in_doubt_is_not_applied(run: Run, frame: pd.DataFrame, message: str) -> None:
    run.advance()
    with pytest.raises(BadInput, match=message):
        run.apply(frame)
    assert run.table("decisions") == []


def test_an_edit_of_a_row_that_has_changed_since_is_in_doubt(run: Run) -> None:
    run.advance()
    old, new = run.rows(), run.rows()
    new.loc[0, "caption"] = TEXT
    run.apply(new)
    old.loc[0, "note"] = "see below"
    with pytest.raises(BadInput, match="the row has changed in the run since this table was written"):
        run.apply(old)


# ---- the package itself


def test_importing_the_package_is_fast_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, iclora\n"
        "assert {'open_run', 'Run', 'load_task', 'train', 'generate'} <= set(dir(iclora))\n"
        "print(sorted({'torch', 'numpy', 'pandas', 'PIL', 'pydantic', 'typer'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout == "[]\n"


def test_every_public_name_exists_and_is_documented() -> None:
    for name in iclora.__all__:
        value = getattr(iclora, name)
        assert get_origin(value) is Literal or value.__doc__, name
    with pytest.raises(AttributeError, match="has no attribute 'open_road'"):
        iclora.open_road  # noqa: B018


def test_python_minus_m_runs_the_command() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "iclora", "tasks"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "storyboard" in ran.stdout


def test_the_commands_use_nothing_but_the_python_api() -> None:
    """All that a command needs from the product is among `iclora`'s public names or part of how results are printed."""
    allowed = {"iclora", "iclora.console", "pipeline.wording.counted"} | {
        f"pipeline.errors.{name}" for name in ("BadInput", "BrokenPlugin", "EmptyResult", "ToolkitError")
    }
    allowed.add("pipeline.store.usual_folder")  # for the log of a run that is still to be made
    for path in (ROOT / "iclora" / "cli").glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            imported = {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
            if isinstance(node, ast.ImportFrom):
                imported = {f"{node.module}.{alias.name}" for alias in node.names}
            for name in imported:
                if name.split(".")[0] in ("pipeline", "captioners", "training", "miniature"):
                    assert name in allowed, f"{path.name} imports {name}"
