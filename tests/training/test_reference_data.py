"""Data sets with reference images as training reads them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from iclora.testing import material
from pipeline import families, task
from pipeline.dataset import portable
from pipeline.errors import BadInput
from pipeline.exporters import base, imagefolder
from training import dataset
from training.job import find_backend


def exported(home: Path, *settings: str) -> Path:
    """A data set of drawn storyboards, as the export writes it."""
    data = material.dataset(home, settings)
    (home / "set").mkdir()
    imagefolder.write(data, home / "set")
    (home / "set" / "iclora.toml").write_text(base.as_toml(portable.content(data.task)), encoding="utf-8")
    return home / "set"


def test_single_panels_are_read_with_their_references_by_the_task_that_the_data_set_keeps(tmp_path: Path) -> None:
    folder = exported(tmp_path, "export.use=panels", "condition=[1]")
    kept = task.load(str(folder / "iclora.toml"))
    data = dataset.read(folder, kept)
    assert kept.grid_layout.size == 1 and {one.layout for one in data.train} == {kept.grid_layout}
    assert len(data.train) == 10 and len(data.held_out) == 2
    for sample in (*data.train, *data.held_out):
        ((reference,), name) = sample.references, Path(sample.path).name
        assert sample.condition == () and Path(reference.path).name == name
        side = "control_1" if sample.side == "train" else "control_1-held-out"
        assert (folder / side / name).samefile(reference.path)
    assert dataset.name_of(data.train[0]).startswith("train/")


def test_grids_are_read_with_their_references_and_nothing_is_given_in_them(tmp_path: Path) -> None:
    folder = exported(tmp_path, "export.use=sheets", "condition=[2]")
    data = dataset.read(folder, task.load(str(folder / "iclora.toml")))
    assert {(len(one.references), one.layout.size, one.condition) for one in data.train} == {(1, 3, ())}


def test_a_picture_without_its_reference_is_an_error_that_names_it(tmp_path: Path) -> None:
    folder = exported(tmp_path, "export.use=panels", "condition=[1]")
    kept = task.load(str(folder / "iclora.toml"))
    (folder / "control_1" / "0002-3.png").unlink()
    with pytest.raises(BadInput, match=r"can't be trained on: 0002-3.png has no reference image"):
        dataset.read(folder, kept)


def test_a_folder_of_another_trainer_is_read_with_its_references(tmp_path: Path) -> None:
    folder = exported(tmp_path, "export.use=panels", "condition=[1]")
    kept, plain = task.load(str(folder / "iclora.toml")), tmp_path / "plain"
    shutil.copytree(folder / "train", plain / "images", ignore=shutil.ignore_patterns("*.jsonl"))
    shutil.copytree(folder / "control_1", plain / "control_1")
    data = dataset.read(plain, kept)
    assert len(data.train) == 10
    assert {Path(one.references[0].path).parent.name for one in data.train} == {"control_1"}


def test_a_backend_takes_as_many_references_as_its_family_says_or_none() -> None:
    for name, family in families.usable():
        try:
            backend = find_backend(name, None, None)
        except BadInput:  # it is not trained here
            continue
        assert backend.REFERENCES in (0, family.references.most if family.references else 0), name
