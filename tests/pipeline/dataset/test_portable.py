"""What a data set keeps of its task: enough to write configs and to train, and no path of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import task
from pipeline.dataset import portable
from pipeline.exporters import base


def written(settings: list[str], folder: Path, name: str = "storyboard") -> tuple[task.Task, task.Task]:
    """A task, and the same as its data set keeps it."""
    own = task.load(name, settings)
    (folder / "iclora.toml").write_text(base.as_toml(portable.content(own)), encoding="utf-8")
    return own, task.load(str(folder / "iclora.toml"))


@pytest.mark.parametrize("name", task.names())
def test_a_task_comes_back_from_its_data_set(name: str, tmp_path: Path) -> None:
    own, kept = written(
        ["train.rank=8", "train.learning_rate=3e-5", "train.scales=[0.5,1.0]", "seed=3"], tmp_path, name
    )
    same = (
        "name",
        "title",
        "prefix",
        "markers",
        "stand_ins",
        "base",
        "condition",
        "seed",
        "layout",
        "caption",
        "train",
    )
    assert {key: getattr(kept, key) for key in same} == {key: getattr(own, key) for key in same}
    assert kept.group.by == "sets"


def test_odd_texts_come_back_too(tmp_path: Path) -> None:
    own, kept = written(['title="a \\"b\\" # [c] = \\\\ schön 🎬"', "export.held_out=0.25"], tmp_path)
    assert (kept.title, kept.export) == (own.title, own.export)


def test_paths_of_this_machine_stay_here(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def write(data, folder): ...", encoding="utf-8")
    formats = f'export.formats=["kohya", "{tmp_path}/mine.py"]'
    _, kept = written([f"train.model={tmp_path}/model", "train.init=/loras/a.safetensors", formats], tmp_path)
    assert (kept.train, kept.export.formats) == ({}, ("kohya",))
    text = (tmp_path / "iclora.toml").read_text(encoding="utf-8")
    assert str(tmp_path) not in text and "/loras" not in text
    assert portable.shown("/home/me/model") == "model" and portable.shown("org/model") == "org/model"
