"""The export: every picture is decoded, an empty result sets the old data set aside, and nobody's edits are lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline import files, task
from pipeline.dataset import checksums
from pipeline.engines.base import Facts
from pipeline.errors import BadInput
from pipeline.pixels import png
from pipeline.records import Caption, Exported, Grid, Group, Position, Record, Rejected, Review, Row
from pipeline.stages import compose, export
from pipeline.text.counters import ESTIMATE

SMALL = task.load("storyboard", ["layout.panel_width=64", "layout.panel_height=64", 'export.formats=["kohya"]'])
TEXT = "[MOVIE-SHOTS] A day, [SCENE-1] one thing here, [SCENE-2] two things here, [SCENE-3] three things here."


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    """Two composed grids, each of three pictures of its own folder."""
    made = []
    for number in range(2):
        records = []
        for panel in range(3):
            file = tmp_path / f"source {number}" / f"{panel}.png"
            file.parent.mkdir(exist_ok=True)
            Image.new("RGB", (64, 64), (90 * number, 60 * panel, 120)).save(file)
            at = Position(folder=str(file.parent))
            records.append(Record(files.digest(file), str(file), str(file), at))
        group = Group(f"s-{number}", SMALL.name, tuple(records), "", 1.0)
        grid = Grid(f"g-{number}", group, SMALL.grid_layout, f"grids/{number}.png")
        compose.write(grid, SMALL.layout.fit, tmp_path)
        made.append(Row(grid, Caption(TEXT, "", "", (), grid.id), decision="keep"))
    return made


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tuple[list[Exported], list[Rejected], dict[str, Any]]]:
    """Exports rows; gives what was exported and rejected, and the facts."""

    def run(rows: list[Row]) -> tuple[list[Exported], list[Rejected], dict[str, Any]]:
        def redraw(grid: Grid) -> None:
            compose.redraw(grid, SMALL.layout.fit, tmp_path)

        stage = export.stage(SMALL, tmp_path, {}, ESTIMATE, redraw=redraw, state="now", earlier=None)
        results = list(stage.run(rows))
        (facts,) = [result.found for result in results if isinstance(result, Facts)]
        kept = [result for result in results if isinstance(result, Exported)]
        return kept, [result for result in results if isinstance(result, Rejected)], dict(facts)

    return run


Run = Callable[..., tuple[list[Exported], list[Rejected], dict[str, Any]]]


def break_off(file: Path, left: float) -> None:
    """Leaves the first part of a file."""
    content = file.read_bytes()
    file.write_bytes(content[: int(left * len(content))])


@pytest.mark.parametrize("left", [0, 0.1, 0.5, 0.97])
def test_a_damaged_grid_is_drawn_again_from_its_sources(rows: list[Row], run: Run, tmp_path: Path, left: float) -> None:
    file = tmp_path / rows[0].grid.path
    whole = file.read_bytes()
    break_off(file, left)
    exported, rejected, _ = run(rows)
    assert (len(exported), rejected) == (2, [])
    assert file.read_bytes() == whole
    assert whole in [path.read_bytes() for path in (tmp_path / "dataset").glob("*/*.png")]


def test_a_grid_that_is_gone_or_has_a_wrong_checksum_is_drawn_again(rows: list[Row], run: Run, tmp_path: Path) -> None:
    first, second = (tmp_path / row.grid.path for row in rows)
    contents = [first.read_bytes(), second.read_bytes()]
    first.unlink()
    turned = bytearray(contents[1])
    turned[-20] ^= 1  # near the end of the pixels
    second.write_bytes(turned)
    assert len(run(rows)[0]) == 2
    assert [first.read_bytes(), second.read_bytes()] == contents


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda file: file.unlink(), "can't be read (No such file or directory)"),
        (lambda file: Image.new("RGB", (64, 64), "red").save(file), "has changed since it was collected"),
    ],
)
def test_a_damaged_grid_without_its_sources_is_a_rejected_row(
    rows: list[Row], run: Run, tmp_path: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    break_off(tmp_path / rows[0].grid.path, 0.5)
    spoil(tmp_path / "source 0" / "1.png")
    exported, rejected, _ = run(rows)
    assert [one.grid for one in exported] == ["g-1"]
    assert [(row.id, row.reason) for row in rejected] == [("g-0", "damaged grid")]
    assert "The picture grids/0.png is damaged and can't be drawn again" in rejected[0].detail
    assert reason in rejected[0].detail
    for file in (tmp_path / "dataset").glob("*/*.png"):
        with Image.open(file) as picture:
            picture.load()


def test_a_grid_of_another_size_is_no_grid_of_the_task(rows: list[Row], run: Run, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / rows[0].grid.path)
    shutil.rmtree(tmp_path / "source 0")
    assert [row.reason for row in run(rows)[1]] == ["damaged grid"]


def test_every_row_that_is_left_out_has_its_reason(rows: list[Row], run: Run) -> None:
    row = rows[0]
    empty = Caption("", "", "", (), "", problems=("no answer in 3 attempts",), failure="timeout")
    cases = {
        "no caption": replace(row, caption=empty, decision="unsure"),
        "caption problems": replace(row, caption=replace(row.caption, problems=("it is too long",)), decision="unsure"),
        "dropped in review": replace(row, decision="drop", review=Review(row.id, "drop", "too dark")),
        "unsure in review": replace(row, decision="unsure", review=Review(row.id, "unsure")),
    }
    details = []
    for reason, case in cases.items():
        _, rejected, _ = run([case])
        assert [one.reason for one in rejected] == [reason]
        details.append(rejected[0].detail)
    assert details[0] == "g-0 has no caption: no answer in 3 attempts."


# ---- pictures that share the disk with the run


@pytest.fixture
def composed(rows: list[Row], tmp_path: Path) -> list[Row]:
    """The same rows as from the table of grids, which keeps what was drawn."""
    hashes = [png.check(tmp_path / row.grid.path, row.grid.layout.canvas) for row in rows]
    return [
        replace(row, grid=replace(row.grid, pixels=found.pixels))
        for row, found in zip(rows, hashes, strict=True)
        if found
    ]


def exported_as(row: Row, exported: list[Exported], tmp_path: Path) -> Path:
    return next(tmp_path / "dataset" / one.file for one in exported if one.grid == row.id)


def test_pictures_share_the_disk_with_the_run_and_are_write_protected(
    composed: list[Row], run: Run, tmp_path: Path
) -> None:
    exported = run(composed)[0]
    for row in composed:
        grid, picture = tmp_path / row.grid.path, exported_as(row, exported, tmp_path)
        assert grid.samefile(picture) and not picture.stat().st_mode & 0o222
    assert checksums.edited(tmp_path / "dataset") == []
    run(composed)  # nothing in the way of another export
    assert (tmp_path / composed[0].grid.path).stat().st_nlink == 2


@pytest.mark.parametrize("side", ["run", "data set"])
def test_a_deleted_picture_leaves_the_other_sides(composed: list[Row], run: Run, tmp_path: Path, side: str) -> None:
    picture = exported_as(composed[0], run(composed)[0], tmp_path)
    grid = tmp_path / composed[0].grid.path
    content = grid.read_bytes()
    (grid if side == "run" else picture).unlink()
    assert (picture if side == "run" else grid).read_bytes() == content
    run(composed)
    assert grid.read_bytes() == exported_as(composed[0], run(composed)[0], tmp_path).read_bytes() == content


def test_a_picture_edited_in_place_is_kept_aside_and_drawn_again_on_both_sides(
    composed: list[Row], run: Run, tmp_path: Path
) -> None:
    picture = exported_as(composed[0], run(composed)[0], tmp_path)
    content = picture.read_bytes()
    picture.chmod(0o644)
    with picture.open("r+b") as file:
        Image.new("RGB", composed[0].grid.layout.canvas, "red").save(file, "PNG")
        file.truncate()
    edited = picture.read_bytes()
    exported, rejected, facts = run(composed)
    assert (len(exported), rejected) == (2, [])
    aside = Path(facts["set aside"]) / picture.relative_to(tmp_path / "dataset")
    assert aside.read_bytes() == edited
    assert (tmp_path / composed[0].grid.path).read_bytes() == picture.read_bytes() == content


def test_a_grid_that_somebody_has_altered_is_copied_before_it_is_drawn_again(
    composed: list[Row], run: Run, tmp_path: Path
) -> None:
    grid = tmp_path / composed[0].grid.path
    content = grid.read_bytes()
    Image.new("RGB", composed[0].grid.layout.canvas, "red").save(grid)
    altered = grid.read_bytes()
    exported, _, facts = run(composed)
    assert len(exported) == 2 and grid.read_bytes() == content
    assert (Path(facts["grids set aside"]) / grid.name).read_bytes() == altered
    assert "grids set aside" not in run(composed)[2]


def test_an_edited_picture_that_cannot_be_drawn_again_is_never_exported_under_the_old_caption(
    composed: list[Row], run: Run, tmp_path: Path
) -> None:
    Image.new("RGB", composed[0].grid.layout.canvas, "red").save(tmp_path / composed[0].grid.path)
    shutil.rmtree(tmp_path / "source 0")
    exported, rejected, _ = run(composed)
    assert [one.grid for one in exported] == ["g-1"] and rejected[0].reason == "damaged grid"
    assert rejected[0].detail.startswith("The picture grids/0.png was altered and can't be drawn again: ")


def test_where_there_are_no_links_pictures_are_copied(
    composed: list[Row], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    exported = run(composed)[0]
    for row in composed:
        grid, picture = tmp_path / row.grid.path, exported_as(row, exported, tmp_path)
        assert not grid.samefile(picture) and grid.read_bytes() == picture.read_bytes()
        assert picture.stat().st_mode & 0o200


def test_a_picture_of_which_nothing_is_known_is_copied(rows: list[Row], run: Run, tmp_path: Path) -> None:
    exported = run(rows)[0]
    assert not (tmp_path / rows[0].grid.path).samefile(exported_as(rows[0], exported, tmp_path))


# ---- the old data set


def test_if_no_row_is_kept_the_old_data_set_is_set_aside_and_none_is_there(
    rows: list[Row], run: Run, tmp_path: Path
) -> None:
    run(rows)
    before = checksums.read(tmp_path / "dataset")
    exported, rejected, facts = run([replace(row, decision="unsure") for row in rows])
    assert (exported, len(rejected)) == ([], 2)
    assert not (tmp_path / "dataset").exists()
    assert facts == {"contents": "", "state": "now", "set aside": str(tmp_path / "dataset.stale-1")}
    assert checksums.read(tmp_path / "dataset.stale-1") == before
    assert run([])[2] == {"contents": "", "state": "now"}
    run(rows)
    assert run([])[2]["set aside"] == str(tmp_path / "dataset.stale-2")


def test_files_that_were_edited_by_hand_are_copied_before_the_data_set_is_written_anew(
    rows: list[Row], run: Run, tmp_path: Path
) -> None:
    run(rows)
    (text,) = (tmp_path / "dataset").glob("*/0001.txt")
    original = text.read_text()
    text.write_text("my own words")
    (tmp_path / "dataset" / "kohya-arguments.toml").write_text("my own paths")
    (tmp_path / "dataset" / "train" / "cache.npz").write_text("a trainer's cache")
    aside = Path(run(rows)[2]["set aside"])
    assert text.read_text() == original
    kept = {path.relative_to(aside).as_posix(): path.read_text() for path in aside.rglob("*") if path.is_file()}
    name = text.relative_to(tmp_path / "dataset").as_posix()
    assert kept == {name: "my own words", "kohya-arguments.toml": "my own paths"}
    assert "set aside" not in run(rows)[2]


def test_an_export_that_was_killed_between_its_renames_leaves_the_old_data_set(
    rows: list[Row], run: Run, tmp_path: Path
) -> None:
    run(rows)
    before = checksums.read(tmp_path / "dataset")
    (tmp_path / "dataset").rename(tmp_path / "dataset.old")
    (tmp_path / "dataset.part").mkdir()
    assert run([])[2]["set aside"] == str(tmp_path / "dataset.stale-1")
    assert checksums.read(tmp_path / "dataset.stale-1") == before
    (tmp_path / "dataset.stale-1").rename(tmp_path / "dataset.old")
    run(rows)
    assert {path.name for path in tmp_path.glob("dataset*")} == {"dataset"}


def test_an_export_is_whole_as_long_as_its_files_are(rows: list[Row], run: Run, tmp_path: Path) -> None:
    folder, contents = tmp_path / "dataset", run(rows)[2]["contents"]
    assert export.is_intact(folder, contents)
    assert not export.is_intact(folder, "")  # after an export of nothing there is none
    next(folder.glob("*/*.png")).unlink()
    assert not export.is_intact(folder, contents)
    assert export.is_intact(tmp_path / "none", "")


def test_a_finished_data_set_is_configured_anew_from_its_folder_alone(
    rows: list[Row], run: Run, tmp_path: Path
) -> None:
    run(rows)
    moved = Path(shutil.move(tmp_path / "dataset", tmp_path / "elsewhere"))
    data = checksums.digest(moved)
    own = task.load(str(moved / "iclora.toml"), ["train.rank=23"])
    assert own.name == "storyboard" and own.grid_layout == SMALL.grid_layout
    names = export.rewrite(moved, own)
    assert names == ["TRAINERS.md", "iclora.toml", "kohya-arguments.toml", "kohya.toml"]
    assert "network_dim = 23" in (moved / "kohya-arguments.toml").read_text(encoding="utf-8")
    assert checksums.faults(moved, data) == checksums.edited(moved) == []
    assert task.load(str(moved / "iclora.toml")).train == {"rank": 23}


def test_a_damaged_data_set_is_not_configured(rows: list[Row], run: Run, tmp_path: Path) -> None:
    run(rows)
    folder = tmp_path / "dataset"
    own = task.load(str(folder / "iclora.toml"))
    (text,) = folder.glob("*/0001.txt")
    text.write_text("other words than in the listing")
    with pytest.raises(BadInput, match=r"/0001\.png has no caption, or another one in its \.txt file than in metadata"):
        export.rewrite(folder, own)
    text.with_suffix(".png").unlink()
    with pytest.raises(BadInput, match=r"0001\.png or its \.txt file is missing or can't be read"):
        export.rewrite(folder, own)


def test_an_exporter_that_lists_a_file_which_it_has_not_written_is_an_error_that_names_both(
    rows: list[Row], tmp_path: Path
) -> None:
    code = """
from pipeline.dataset.samples import Config

def write(data, folder):
    return Config("a trainer", ("nosuch.json",), "train nosuch.json")
"""
    (tmp_path / "mine.py").write_text(code, encoding="utf-8")
    own = task.load("storyboard", ["layout.panel_width=64", "layout.panel_height=64", 'export.formats=["kohya"]'])
    named = own.export.model_copy(update={"formats": (str(tmp_path / "mine.py"),)})
    with pytest.raises(
        BadInput, match=r"the exporter 'mine' \(.*/mine\.py\) lists nosuch\.json and has not written it"
    ):
        export.write(rows, own.model_copy(update={"export": named}), tmp_path, {})
    assert not (tmp_path / "dataset").exists()
