"""docs/references.md, typed as it stands on a few drawn pictures."""

from __future__ import annotations

import json
import random
import re
import shlex
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import iclora
from iclora.testing import material
from miniature.film import picture
from miniature.world import draw_scene
from pipeline import exporters, plugins, task
from pipeline.dataset import portable, split
from pipeline.errors import BadInput
from pipeline.exporters import base, imagefolder
from pipeline.families.base import INSTRUCTION
from training import dataset

PAGE = (Path(__file__).parents[2] / "docs" / "references.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(iclora: Typed) -> Typed:
    """Commands as they are typed in a folder with four sets of three pictures with joint captions."""
    rng = random.Random(0)
    for number in range(1, 5):
        for panel in range(1, 4):
            picture(draw_scene(rng), Path(f"films/{number}/{number:04d}-{panel}.png"), (256, 128))
        panels = (
            "[SCENE-1] <Mara> flies a kite, [SCENE-2] a close-up of <Mara> at home, [SCENE-3] <Mara> sleeps outside."
        )
        Path(f"films/{number}/{number:04d}.txt").write_text(f"[MOVIE-SHOTS] A day of {number}, {panels}")
    return iclora


@pytest.mark.slow
def test_the_page_makes_every_use_of_one_group_and_reads_it_back(typed: Typed) -> None:
    make, *others = COMMANDS
    small = [word for setting in material.SMALL for word in ("--set", setting)]
    bare = [*small, "--set", "group.prove=false", "--set", 'export.formats=["musubi_tuner"]']
    code, out, errors = typed(*shlex.split(make)[1:], "--captioner", "sidecar", "--scorer", "none", *bare)
    assert code == 0, errors
    found = {}
    for command in others:
        more = bare if "--source" in command else []
        code, out, errors = typed(*shlex.split(command)[1:], *more)
        assert code == 0, (command, out, errors)
        home = Path("runs/films/dataset")
        use = task.load(str(home / "iclora.toml")).export.use
        found[use] = {file: entry["text"] for file, entry in split.entries(home).items()}
    assert {use: len(texts) for use, texts in found.items()} == {"panels": 12, "sheets": 4}
    texts = {text for file, text in found["panels"].items() if file.endswith("-2.png")}
    assert texts == {INSTRUCTION.format(text="A close-up of <Mara> at home.")}
    report = json.loads(Path("runs/films/report.json").read_text(encoding="utf-8"))["stages"]["export"]
    assert (report["train"] + report["validation"], report["kept"]) == (12, 12)
    with zipfile.ZipFile("runs/films/storyboard-civitai.zip") as packed:
        assert any(re.fullmatch(r"main/000\d-2\.png", name) for name in packed.namelist())
    assert len(split.entries(Path("runs/again/dataset"))) == 4
    with (
        iclora.open_run("storyboard", folder="runs/films") as run,
        pytest.raises(BadInput, match="export the grids with"),
    ):
        iclora.evaluate(run)


@pytest.mark.parametrize("use", ["panels", "sheets"])
def test_a_training_shows_the_reference_images_in_every_example(use: str, tmp_path: Path) -> None:
    data = material.dataset(tmp_path, [f"export.use={use}", "condition=[1]", "base=flux-2-klein"])
    (tmp_path / "set").mkdir()
    imagefolder.write(data, tmp_path / "set")
    (tmp_path / "set/iclora.toml").write_text(base.as_toml(portable.content(data.task)), encoding="utf-8")
    small = {"train.smallest_panel": 64}
    training = iclora.open_training(tmp_path / "set", task=tmp_path / "set/iclora.toml", settings=small, into=tmp_path)
    with pytest.raises(BadInput, match=r"train.conditional gives panels in the canvas.* \(export.use=" + use):
        iclora.open_training(
            tmp_path / "set",
            task=tmp_path / "set/iclora.toml",
            settings={**small, "train.conditional": 1},
            into=tmp_path,
        )
    views = [dataset.plain(sample, training.job.shown) for sample in training.job.samples]
    assert {tuple(training.job.shown_beside(view)) for view in views} == {
        (sample.references,) for sample in training.job.samples
    }


def test_the_page_knows_every_use_and_every_trainer() -> None:
    uses = re.findall(r"^\| `(\w+)`", PAGE.partition("\n## ")[0], re.MULTILINE)
    assert uses == list(task.ExportSection.model_fields["use"].annotation.__args__)  # type: ignore[union-attr]
    table = PAGE.partition("| trainer |")[2].partition("\n\n")[0]
    for name in plugins.names(exporters):
        if name != "imagefolder":
            assert plugins.load(exporters, name).NAME.partition(" example")[0] in table
