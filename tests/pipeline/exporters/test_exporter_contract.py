"""What holds for every exporter, whichever there are: found by name, none listed here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline import exporters, families, plugins, task
from pipeline.dataset import samples, split
from pipeline.dataset.samples import Config, Dataset
from pipeline.errors import BadInput
from pipeline.exporters import imagefolder
from pipeline.families.base import Recipe
from pipeline.records import Caption, Grid, Group, Position, Record, Row
from pipeline.stages import export

NAMES = [name for name in plugins.names(exporters) if name != export.DATA]
CHANGED: dict[str, Any] = {
    "rank": 24,
    "alpha": 12.0,
    "learning_rate": 3e-4,
    "schedule": "cosine",
    "warmup": 70,
    "clip": 0.7,
    "ema": 0.97,
    "caption_dropout": 0.2,
    "steps": 1_234,
    "batch": 2,
    "seed": 9,
    "save_every": 77,
    "validate_every": 66,
    "sample_every": 88,
    "samples": 0,
    "sample_steps": 33,
    "guidance": 2.5,
}
"""Another value for every setting of the recipe."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Six grids from six folders, one of them held out, with masks."""
    run = tmp_path_factory.mktemp("a run")
    conditional = task.load("storyboard", ["condition=[1]"])
    (run / "grids").mkdir()
    rows = []
    for number in range(6):
        path = f"grids/{number}.png"
        Image.new("RGB", conditional.grid_layout.canvas, (40 * number, 80, 120)).save(run / path)
        at = Position(folder=f"/films/{number}")
        panels = tuple(Record(f"{number}-{panel}", "", f"/films/{number}.mp4", at) for panel in range(3))
        grid = Grid(
            f"g-{number}", Group(f"s-{number}", conditional.name, panels, "", 1.0), conditional.grid_layout, path
        )
        text = f'[MOVIE-SHOTS] Story {number}, "said" so, [SCENE-1] a first, [SCENE-2] a second, [SCENE-3] a third.'
        rows.append(Row(grid, Caption(text, "", "", (), grid.id), decision="keep"))
    return samples.gather(rows, conditional, run, split.divide(rows, conditional))


@pytest.fixture(scope="module")
def exported(data: Dataset) -> Path:
    """The data itself, beside which the other exporters write."""
    data.home.mkdir()
    imagefolder.write(data, data.home)
    return data.home


def write(name: str, data: Dataset, exported: Path, folder: Path, **changed: Any) -> tuple[Config, dict[str, bytes]]:
    """The files that an exporter reports and writes, with other values in the task."""
    folder.mkdir()
    for part in exported.iterdir():
        (folder / part.name).symlink_to(part)
    altered = replace(data, task=data.task.model_copy(update=changed))
    config = plugins.load(exporters, name).write(altered, folder)
    return config, {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("base", families.names())
@pytest.mark.parametrize("name", NAMES)
def test_an_exporter_reports_its_files_and_names_no_path_on_this_machine(
    name: str, base: str, data: Dataset, exported: Path, tmp_path: Path
) -> None:
    config, files = write(name, data, exported, tmp_path / "set", base=base)
    assert config.trainer and set(files) == set(config.files)
    for text in (config.command, *config.notes, *(content.decode("utf-8") for content in files.values())):
        assert str(data.run) not in text and str(tmp_path) not in text
    assert all(note.endswith((".", ").")) and "\n" not in note for note in config.notes)
    assert all(file.split()[0] == file for file in config.files)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_data_gives_the_same_bytes(name: str, data: Dataset, exported: Path, tmp_path: Path) -> None:
    assert write(name, data, exported, tmp_path / "a") == write(name, data, exported, tmp_path / "b")


@pytest.mark.parametrize("setting", Recipe.model_fields)
@pytest.mark.parametrize("name", NAMES)
def test_every_setting_of_the_recipe_reaches_the_config_or_is_reported(
    name: str, setting: str, data: Dataset, exported: Path, tmp_path: Path
) -> None:
    assert getattr(Recipe(), setting) != CHANGED[setting]
    before, plain = write(name, data, exported, tmp_path / "a")
    after, changed = write(name, data, exported, tmp_path / "b", train={setting: CHANGED[setting]})
    if before.command:
        notes = " ".join(after.notes)
        reached = after.command != before.command or uncommented(changed) != uncommented(plain)
        assert reached != (f"train.{setting}=" in notes), notes


def uncommented(files: dict[str, bytes]) -> dict[str, list[bytes]]:
    return {name: [line for line in text.splitlines() if not line.startswith(b"#")] for name, text in files.items()}


@pytest.mark.parametrize("name", NAMES)
def test_settings_that_only_our_own_training_supports_are_reported(
    name: str, data: Dataset, exported: Path, tmp_path: Path
) -> None:
    config, _ = write(name, data, exported, tmp_path / "set", train={"scales": [0.5], "permute": 0.5})
    if config.command:
        assert "train.scales=[0.5], train.permute=0.5" in " ".join(config.notes)


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_value_in_the_recipe_is_reported_in_one_sentence(
    name: str, data: Dataset, exported: Path, tmp_path: Path
) -> None:
    if write(name, data, exported, tmp_path / "a")[0].command:
        with pytest.raises(BadInput, match=r"options of the training: train\.rank: .* got 0; train\.ema: .* got 1\."):
            write(name, data, exported, tmp_path / "b", train={"rank": 0, "ema": 1})


@pytest.mark.parametrize("name", NAMES)
def test_the_defaults_of_a_family_apply_if_the_task_sets_nothing(
    name: str, data: Dataset, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, by_task = write(name, data, exported, tmp_path / "a", train={"rank": 24})
    own = replace(families.load("flux-1"), recipe={"rank": 24})
    monkeypatch.setattr(families, "load", lambda _: own)
    _, by_family = write(name, data, exported, tmp_path / "b")
    _, both = write(name, data, exported, tmp_path / "c", train={"rank": 16})
    monkeypatch.undo()
    _, plain = write(name, data, exported, tmp_path / "d")
    assert by_family == by_task and both == plain


FURTHER = """
from pipeline.dataset.samples import Config

def write(data, folder):
    (folder / "plain.txt").write_text("".join(f"{sample.file} {sample.text}\\n" for sample in data.train))
    return Config("a plain list", ("plain.txt",))
"""


def test_a_new_exporter_is_one_file(
    data: Dataset, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "plain_list.py").write_text(FURTHER, encoding="utf-8")
    monkeypatch.setattr(exporters, "__path__", [*exporters.__path__, str(tmp_path / "more")])
    assert "plain_list" in [plugin.name for plugin in export.chosen(data.task)]
    config, files = write("plain_list", data, exported, tmp_path / "set")
    assert (config.trainer, files["plain.txt"].count(b"\n")) == ("a plain list", len(data.train))
