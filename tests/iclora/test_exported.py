"""A run vouches for its data set: an empty or stale one is never a success, and a whole one goes to another machine."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from installed import installed

import iclora
from iclora import exported
from iclora.run import Run
from miniature import film
from miniature.world import draw_scene
from pipeline import task
from pipeline.errors import BadInput, EmptyResult
from pipeline.text import grammar

Typed = Callable[..., tuple[int, str, str]]
SMALL = {"group.floor": 0, "group.near": 0, "group.ceiling": 1, "layout.panel_width": 128, "layout.panel_height": 64}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four folders of three images with a joint caption; `untold` has none."""
    home = tmp_path_factory.mktemp("films")
    for folder in ("dawn", "day", "night", "untold"):
        for number in range(1, 4):
            film.picture(draw_scene(Random(f"{folder} {number}")), home / folder / f"{number}.png", (320, 160))
        if folder != "untold":
            texts = [f"part {number} of the {folder} is told" for number in range(1, 4)]
            joint = grammar.render(f"a story of the {folder}", texts, [], task.load("storyboard"))
            (home / folder / "caption.txt").write_text(joint, encoding="utf-8")
    return home


@pytest.fixture
def run(films: Path, tmp_path: Path) -> Iterator[Run]:
    """A run that has exported three grids."""
    with iclora.open_run(
        "storyboard", films, settings=SMALL, captioner="sidecar", scorer="none", folder=tmp_path / "run"
    ) as run:
        run.advance()
        yield run


FAMILY = """
from dataclasses import replace
from pipeline.families.flux_1 import FAMILY as FLUX
FAMILY = replace(FLUX, FACTS)
"""


def test_a_change_in_the_file_of_an_installed_family_is_noticed(films: Path, tmp_path: Path) -> None:
    def exports(number: int, facts: str) -> tuple[list[str], str]:
        """The stages that had something to do, and a config."""
        package = {"anime.py": FAMILY.replace("FACTS", facts)}, {"iclora.families anime": "strange.anime"}
        with (
            installed(tmp_path / str(number), "strange", *package),
            iclora.open_run(
                "storyboard",
                films,
                settings=SMALL | {"base": "anime", "export.formats": ["ai_toolkit"]},
                captioner="sidecar",
                scorer="none",
                folder=tmp_path / "run",
            ) as run,
        ):
            worked = [result.name for result in run.advance() if result.worked]
            return worked, (run.dataset / "ai-toolkit.yaml").read_text(encoding="utf-8")

    first = exports(0, 'model="some/one"')
    assert "export" in first[0] and "some/one" in first[1]
    assert exports(1, 'model="some/one"') == ([], first[1])
    worked, other = exports(2, 'model="some/other", recipe={"rank": 23}')
    assert "export" in worked and "some/other" in other and "linear: 23" in other
    assert "caption" in exports(3, 'model="some/other", limit=511')[0]  # so few that no instruction changes by it


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- an empty result


def drop_all(run: Run) -> None:
    run.apply(run.rows()[["id"]].assign(decision="drop"))


def test_nothing_left_to_export_is_an_error_that_counts_the_reasons(run: Run) -> None:
    before = contents(run.dataset)
    drop_all(run)
    with pytest.raises(EmptyResult) as caught:
        run.advance(start="filter")
    assert str(caught.value) == (
        "no grid is left for a data set: export rejected 4 grids (4 dropped in review); "
        f"'{run.command('show', 'rejected')}' names each with its values; the earlier data set is now "
        f"{run.folder / 'dataset.stale-1'}."
    )
    assert not run.dataset.exists() and contents(run.folder / "dataset.stale-1") == before


def test_an_empty_result_is_an_error_every_time_until_something_is_left(run: Run) -> None:
    drop_all(run)
    for _ in range(2):
        with pytest.raises(EmptyResult, match="no grid is left"):
            run.advance(start="filter")
    assert [path.name for path in run.folder.glob("dataset*")] == ["dataset.stale-1"]
    run.apply(run.rows().head(1)[["id"]].assign(decision="keep", caption=TEXT))
    assert run.advance(start="filter")[-1].kept == 1
    exported.check(run)


TEXT = "[MOVIE-SHOTS] By hand, [SCENE-1] a first thing, [SCENE-2] a second thing, [SCENE-3] a third thing."


def test_grids_without_captions_are_counted_as_that(films: Path, tmp_path: Path) -> None:
    with (
        iclora.open_run(
            "storyboard", films / "untold", settings=SMALL, captioner="sidecar", scorer="none", folder=tmp_path / "run"
        ) as run,
        pytest.raises(EmptyResult, match=r"^no grid is left for a data set: export rejected 1 grid \(1 no caption\); "),
    ):
        run.advance()
    assert not (tmp_path / "run" / "dataset").exists()


def test_an_earlier_stage_that_keeps_nothing_is_an_error_too(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n no picture")
    with (
        iclora.open_run("storyboard", tmp_path / "in", scorer="none", folder=tmp_path / "run") as run,
        pytest.raises(EmptyResult, match=r"^inspect has kept nothing: inspect rejected 1 image \(1 unreadable\); "),
    ):
        run.advance("inspect")


def test_the_commands_end_with_exit_code_one_and_name_no_data_set(iclora: Typed, films: Path) -> None:
    small = [f"--set={key}={value}" for key, value in SMALL.items()]
    bare = ("--captioner", "sidecar", "--scorer", "none", *small)
    assert iclora("dataset", "storyboard", "--source", str(films), *bare)[0] == 0
    table = Path("runs/storyboard/captions.csv")
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = [row | {"decision": "drop"} for row in csv.DictReader(file)]
    with Path("mine.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for words in (["review", "storyboard", "--apply", "mine.csv"], ["dataset", "storyboard"], ["export", "storyboard"]):
        code, output, errors = iclora(*words)
        assert code == 1 and errors.startswith("error: no grid is left for a data set: export rejected 4 grids (")
        assert "data set is in" not in output and "grids in" not in output
        assert errors.count("\n") == 1
    output = iclora("dataset", "storyboard")[1]
    assert (
        "4 dropped in review" in output and "next: edit runs/storyboard/captions.csv" in output
    )  # with the whole table
    code, _, errors = iclora("train", "storyboard")
    assert (
        code == 2 and "there is no data set in runs/storyboard/dataset; make one with 'iclora export storyb" in errors
    )


# ---- a stale one


def refused(run: Run) -> str:
    """Why the data set is refused by everything that uses it."""
    reasons = set()
    for use in (lambda: iclora.open_training(run), lambda: run.push("me/grids"), run.pack):
        with pytest.raises(BadInput) as caught:
            use()
        reasons.add(str(caught.value))
    (reason,) = reasons
    start, end = f"the data set in {run.dataset} is not that of its run: ", "; bring it up to date with 'iclora export "
    assert reason.startswith(start) and end in reason and f"--data {run.dataset}." in reason
    return reason.removeprefix(start).partition(end)[0]


def test_a_data_set_as_it_was_exported_is_vouched_for(run: Run) -> None:
    exported.check(run)
    with iclora.open_run("storyboard", folder=run.folder) as again:
        exported.check(again)
    moved = shutil.copytree(run.folder, run.folder.with_name("moved"))
    with iclora.open_run("storyboard", folder=moved) as elsewhere:
        exported.check(elsewhere)
    assert [result.worked for result in run.advance()] == [False] * 7


CHANGES: dict[str, Callable[[Run], object]] = {
    "a decision": lambda run: run.apply(run.rows().head(1)[["id"]].assign(decision="drop")),
    "an edited caption": lambda run: run.apply(run.rows().tail(1)[["id"]].assign(caption=TEXT)),
    "other groups": lambda run: iclora.open_run("storyboard", folder=run.folder, settings={"group.window": 4}).advance(
        "group"
    ),
    "a setting that no stage has seen yet": lambda run: iclora.open_run(
        "storyboard", folder=run.folder, settings={"export.held_out": 0.5}
    ).advance("inspect"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_that_has_changed_since_its_export_is_not_trained_on(run: Run, change: str) -> None:
    made = CHANGES[change](run)
    assert made
    with iclora.open_run("storyboard", folder=run.folder) as now:
        assert refused(now) == "the run or its settings have changed since the export"
        now.advance()
        exported.check(now)


def test_another_source_that_gives_nothing_leaves_nothing_to_train_on(run: Run, films: Path) -> None:
    with iclora.open_run("storyboard", films / "untold", folder=run.folder) as other:
        with pytest.raises(EmptyResult, match="the earlier data set is now"):
            other.advance()
        with pytest.raises(BadInput, match="there is no data set in"):
            iclora.open_training(other)


def test_settings_of_the_training_leave_the_data_set_as_it_is(run: Run) -> None:
    with iclora.open_run("storyboard", folder=run.folder, settings={"train.steps": 20}) as again:
        exported.check(again)


def test_files_that_are_missing_altered_or_added_are_named(run: Run) -> None:
    pictures = sorted(run.dataset.glob("*/*.png"))
    names = [picture.relative_to(run.dataset).as_posix() for picture in pictures]
    pictures[0].unlink()
    pictures[1].with_suffix(".txt").write_text("other words", encoding="utf-8")
    shutil.copy(pictures[2], pictures[2].with_name("9999.png"))
    text, added = names[1].replace(".png", ".txt"), f"{names[2].rpartition('/')[0]}/9999.png"
    assert refused(run) == f"{names[0]} is missing, {text} was altered, {added} was added"


def test_another_runs_data_set_is_not_taken_for_this_ones(run: Run, films: Path, tmp_path: Path) -> None:
    with iclora.open_run(
        "storyboard", films / "day", settings=SMALL, captioner="sidecar", scorer="none", folder=tmp_path / "other"
    ) as other:
        other.advance()
    shutil.rmtree(run.dataset)
    shutil.copytree(other.dataset, run.dataset)
    assert refused(run) == "SHA256SUMS is not that of the export"


def test_a_data_set_without_its_run_is_refused_by_name_and_taken_as_a_folder(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.dataset, tmp_path / "bare" / "dataset")
    with iclora.open_run("storyboard", folder=tmp_path / "bare") as bare:
        assert refused(bare) == "there is no run beside it"
    assert not (tmp_path / "bare" / "run.db").exists()


# ---- what a re-run restores


def test_a_picture_that_was_deleted_from_the_data_set_is_restored(run: Run) -> None:
    before = contents(run.dataset)
    next(run.dataset.glob("*/*.png")).unlink()
    assert [result.worked for result in run.advance()] == [False] * 6 + [True]
    assert contents(run.dataset) == before


def test_a_broken_grid_is_never_exported(run: Run) -> None:
    before = contents(run.dataset)
    for grid in (run.folder / "grids").glob("*.png"):
        content = grid.read_bytes()
        grid.unlink()  # the data set shares it, write-protected
        grid.write_bytes(content[:300])
    run.apply(run.rows().head(1)[["id"]].assign(note="see below"))
    run.advance(start="filter")
    after = contents(run.dataset)
    assert {name: after[name] for name in after if name.endswith(".png")} == {
        name: before[name] for name in before if name.endswith(".png")
    }


def test_hand_edited_files_are_kept_and_a_config_of_ones_own_is_left_alone(iclora: Typed, run: Run) -> None:
    (run.dataset / "kohya-arguments.toml").write_text("my own paths", encoding="utf-8")
    assert [result.worked for result in run.advance()] == [False] * 7
    text = next(run.dataset.glob("*/*.txt"))
    text.write_text("my own words", encoding="utf-8")
    code, output, _ = iclora("dataset", "storyboard", "--out", str(run.folder))
    aside = run.folder / "dataset.edited-1"
    assert code == 0 and f"before it was written anew they were copied to {aside}." in output
    assert set(contents(aside).values()) == {b"my own paths", b"my own words"}
    assert "edited-1" not in iclora("dataset", "storyboard", "--out", str(run.folder))[1]


# ---- another machine


def test_a_packed_data_set_is_unpacked_checked_and_configured_anywhere(iclora: Typed, run: Run, tmp_path: Path) -> None:
    code, output, errors = iclora("pack", "storyboard", "--out", str(run.folder))
    assert (code, errors) == (0, "")
    archive = run.folder / "storyboard.tar"
    assert output.startswith(str(archive))
    first = archive.read_bytes()
    assert run.pack(tmp_path / "again.tar").read_bytes() == first
    (tmp_path / "there").mkdir()
    shutil.move(archive, tmp_path / "there")
    shutil.move(run.folder, tmp_path / "gone")
    if shutil.which("sha256sum"):
        command = output.splitlines()[1].strip()
        subprocess.run(["sh", "-c", command], cwd=tmp_path / "there", check=True, capture_output=True)
    else:
        with tarfile.open(tmp_path / "there" / "storyboard.tar") as tar:
            tar.extractall(tmp_path / "there", filter="data")
    home = tmp_path / "there" / "storyboard"
    code, output, errors = iclora("export", "--dataset", str(home), "--set", "train.rank=23")
    assert (code, errors) == (0, "")
    assert "kohya-arguments.toml" in output
    assert json.loads((home / "simpletuner.json").read_text(encoding="utf-8"))["lora_rank"] == 23


def test_iclora_trains_on_a_folder_by_the_task_that_it_keeps(run: Run, tmp_path: Path) -> None:
    home = Path(shutil.copytree(run.dataset, tmp_path / "there"))
    iclora.write_configs(home, {"train.steps": 7, "train.scales": [1.0], "train.smallest_panel": 64})
    training = iclora.open_training(home, task=home / "iclora.toml", into=tmp_path / "into")
    assert (training.job.task.name, training.job.config.steps) == ("storyboard", 7)
    assert len(training.job.data.train) + len(training.job.data.held_out) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export"], "export takes a task, or the folder of a finished data set with --dataset"),
        (["export", "storyboard", "--dataset", "x"], "takes nothing but --set train.* beside it"),
        (["export", "--dataset", "x", "--scorer", "none"], "takes nothing but --set train.* beside it"),
        (["export", "--dataset", "nowhere"], "nowhere has no iclora.toml"),
        (["pack", "storyboard"], "there is no run in runs/storyboard"),
    ],
)
def test_what_can_t_be_exported_or_packed_is_one_sentence(iclora: Typed, words: list[str], message: str) -> None:
    code, _, errors = iclora(*words)
    assert code == 2 and message in errors and errors.count("\n") == 1
