"""A data set on another machine: every path in every trainer's config leads to something there, also in configs
written anew; and repeats and epochs fit the number of grids."""

from __future__ import annotations

import json
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

import iclora
from pipeline import exporters, plugins, task
from pipeline.dataset import portable
from pipeline.dataset.samples import Dataset
from pipeline.errors import BadInput
from pipeline.exporters import base
from pipeline.records import Caption, Grid, Group, Position, Record, Row
from pipeline.stages import export

SMALL = task.load("storyboard", ["layout.panel_width=64", "layout.panel_height=64", "condition=[1]"])
LINKED = ("onetrainer", "diffusion_pipe")
"""Trainers that are started in a folder of their own, where a link leads to the data set."""
PATHS = {
    "ai_toolkit": {"train", "masks"},
    "kohya": {"train", "masks", "kohya.toml"},
    "simpletuner": {"train", "validation", "masks", "simpletuner-data.json"},
    "onetrainer": {"with-masks/grids", "with-masks/held-out", "onetrainer-concepts.json"},
    "diffusion_pipe": {"train", "validation", "masks", "masks-held-out", "diffusion-pipe-data.toml"}
    | {"diffusion-pipe-held-out.toml"},
    "diffusers": {"."},
    "diffsynth": {".", "diffsynth.csv"},
}
"""What each trainer's configs lead to in the data set."""


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of six grids, one of them held out, on another machine: run and sources are gone."""
    run = tmp_path_factory.mktemp("here") / "a run"
    rows = []
    (run / "grids").mkdir(parents=True)
    for number in range(6):
        path = f"grids/{number}.png"
        Image.new("RGB", SMALL.grid_layout.canvas, (40 * number, 80, 120)).save(run / path)
        at = Position(folder=f"/films/{number}")
        panels = tuple(Record(f"{number}-{panel}", "", f"/films/{number}.mp4", at) for panel in range(3))
        group = Group(f"s-{number}", SMALL.name, panels, "", 1.0)
        text = f"[MOVIE-SHOTS] Story {number}, [SCENE-1] a first, [SCENE-2] a second, [SCENE-3] a third."
        grid = Grid(f"g-{number}", group, SMALL.grid_layout, path)
        rows.append(Row(grid, Caption(text, "", "", ("a first", "a second", "a third"), grid.id), decision="keep"))
    export.write(rows, SMALL, run, {})
    there = Path(shutil.move(run / "dataset", tmp_path_factory.mktemp("there") / "my 'set'"))
    shutil.rmtree(run)
    iclora.write_configs(there, {"train.rank": 23})
    return there


@pytest.fixture
def data(moved: Path) -> Dataset:
    return portable.read(moved, task.load(str(moved / "iclora.toml")))


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, str):
        yield value


def values(path: Path) -> list[str]:
    """All texts in a config; the words of a script."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".sh":
        return shlex.split(text.replace("\\\n", " "), comments=True)
    readers = {".toml": tomllib.loads, ".json": json.loads, ".yaml": yaml.safe_load}
    return list(strings(readers[path.suffix](text))) if path.suffix in readers else []


def config_files(name: str, moved: Path) -> list[Path]:
    stem = name.replace("_", "-")
    return [path for path in sorted(moved.iterdir()) if path.name.startswith(stem) and path.is_file()]


@pytest.mark.parametrize("name", PATHS)
def test_every_path_in_a_config_leads_to_something_in_the_moved_data_set(
    name: str, moved: Path, tmp_path: Path
) -> None:
    (tmp_path / "iclora-storyboard").symlink_to(moved)
    started_in = tmp_path if name in LINKED else moved
    found = set()
    for value in (value for file in config_files(name, moved) for value in values(file)):
        assert not value.startswith("/") and "a run" not in value, value
        inside = value.replace("$DATASET", ".").removeprefix("iclora-storyboard/")
        if inside != value or (moved / value.partition("/")[0]).exists():
            at = moved / inside if "$DATASET" in value else started_in / value
            if at.exists():
                found.add(inside.removeprefix("./"))
            else:
                assert not value.startswith(("iclora-storyboard", "$DATASET/")), value
    assert found >= PATHS[name]


@pytest.mark.parametrize("name", PATHS)
def test_configs_that_are_written_anew_have_the_new_settings(name: str, moved: Path) -> None:
    assert any("23" in file.read_text(encoding="utf-8") for file in config_files(name, moved))


def test_a_data_set_read_from_its_folder_is_the_one_that_was_exported(moved: Path, data: Dataset) -> None:
    assert (len(data.train), len(data.held_out)) == (5, 1)
    assert all((moved / sample.file).is_file() and (moved / sample.mask).is_file() for sample in data.samples)
    assert [sample.text for sample in data.samples] == [
        (moved / sample.file).with_suffix(".txt").read_text(encoding="utf-8") for sample in data.samples
    ]
    assert {data.split.side(sample.row.id) for sample in data.held_out} == {"validation"}


def test_the_same_settings_give_the_same_files_here_and_there(moved: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(moved, tmp_path / "copy"))
    before = {path.name: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    iclora.write_configs(copy)
    assert {path.name: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_only_settings_of_the_training_can_be_set_for_a_finished_data_set(moved: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"group\.near can't be set for a finished data set, only train\.\*"):
        iclora.write_configs(moved, {"group.near": 1, "train.rank": 8})
    with pytest.raises(BadInput, match=r"unknown key 'train\.rnak', did you mean 'rank'"):
        iclora.write_configs(moved, {"train.rnak": 8})
    with pytest.raises(BadInput, match=r"has no iclora\.toml, so it is not a data set that iclora has exported"):
        iclora.write_configs(tmp_path)


# ---- as many repeats and epochs as the grids need


def of(count: int, data: Dataset, **settings: Any) -> Dataset:
    """The data set with another number of training grids."""
    grids = tuple(replace(data.train[0], stem=f"{number:04d}") for number in range(count))
    return replace(data, samples=(*grids, *data.held_out), task=data.task.model_copy(update={"train": settings}))


@pytest.mark.parametrize("count", [1, 3, 4, 5, 48, 49, 301])
@pytest.mark.parametrize("steps", [1, 100, 5_000])
def test_no_batch_is_incomplete_and_no_training_ends_early(count: int, steps: int, data: Dataset) -> None:
    few = of(count, data, steps=steps, batch=4)
    shown = count * base.repeats(few)
    assert shown % 4 == 0 and base.repeats(few) <= 4
    assert shown * (base.epochs(few) - 1) < 4 * steps <= shown * base.epochs(few)


@pytest.mark.parametrize("count", [1, 5, 48])
def test_repeats_and_epochs_reach_the_configs(count: int, data: Dataset, moved: Path, tmp_path: Path) -> None:
    few, home = of(count, data, steps=1_000, batch=4), tmp_path / "configs"
    shutil.copytree(moved, home)
    few = replace(few, task=few.task.model_copy(update={"condition": ()}))
    for name in PATHS:
        plugins.load(exporters, name).write(few, home)
    repeats = {1: 4, 5: 4, 48: 1}[count]
    assert (
        yaml.safe_load((home / "ai-toolkit.yaml").read_text("utf-8"))["config"]["process"][0]["datasets"][0][
            "num_repeats"
        ]
        == repeats
    )
    assert (
        tomllib.loads((home / "kohya.toml").read_text("utf-8"))["datasets"][0]["subsets"][0]["num_repeats"] == repeats
    )
    assert (
        tomllib.loads((home / "diffusion-pipe-data.toml").read_text("utf-8"))["directory"][0]["num_repeats"] == repeats
    )
    assert tomllib.loads((home / "diffusion-pipe.toml").read_text("utf-8"))["epochs"] == base.epochs(few)
    assert json.loads((home / "onetrainer-concepts.json").read_text("utf-8"))[0]["balancing"] == repeats
    assert json.loads((home / "onetrainer.json").read_text("utf-8"))["epochs"] == base.epochs(few)
    assert json.loads((home / "simpletuner-data.json").read_text("utf-8"))[0]["repeats"] == repeats - 1
    words = values(home / "diffsynth.sh")
    shown = [int(words[words.index(f"--{key}") + 1]) for key in ("dataset_repeat", "num_epochs")]
    assert 4_000 <= count * shown[0] * shown[1] <= 4_000 + count * shown[1]


@pytest.mark.parametrize("name", PATHS)
def test_grids_that_are_seen_very_often_are_a_sentence(name: str, data: Dataset, tmp_path: Path) -> None:
    def notes(count: int, **settings: Any) -> str:
        home = tmp_path / str(len(list(tmp_path.iterdir())))
        home.mkdir()
        few = of(count, data, **settings)
        few = replace(few, task=few.task.model_copy(update={"condition": ()}))
        return " ".join(plugins.load(exporters, name).write(few, home).notes)

    sentence = (
        "Each of the 5 training grids is seen 4,000 times in 5,000 steps of 4, more than 300: keep the step at which"
    )
    assert sentence in notes(5) and "or set train.steps to 375." in notes(5)
    assert "The only training grid is seen 20,000 times" in notes(1)
    assert "more than 300" not in notes(5, steps=375)
    assert "more than 300" in notes(5, steps=376)
