"""Pictures with reference images; tests/pipeline/exporters/test_references.py reads the folders of every trainer."""

from __future__ import annotations

from pathlib import Path

from pipeline.stages import collect


def sample(folder: Path, draw) -> Path:
    """A picture with a caption and a reference image for the contract of readers."""
    for number, name in enumerate(("images/a.png", "control_1/a.png")):
        (folder / name).parent.mkdir()
        draw(number).save(folder / name)
    (folder / "images/a.txt").write_text("A hill.", encoding="utf-8")
    return folder


def test_a_reference_image_is_read_with_its_picture_only(tmp_path, draw):
    (item,) = collect.find([sample(tmp_path, draw)])
    assert item.name == "images/a.png" and [one.name for one in item.references] == ["control_1/a.png"]


def test_a_folder_of_that_name_is_one_like_others_without_captions(tmp_path, draw):
    sample(tmp_path, draw)
    (tmp_path / "images/a.txt").unlink()
    assert [(item.name, item.references) for item in collect.find([tmp_path])] == [
        ("control_1/a.png", ()),
        ("images/a.png", ()),
    ]


def test_a_reference_image_of_nothing_is_a_picture_like_others(tmp_path, draw):
    sample(tmp_path, draw)
    draw(2).save(tmp_path / "control_1/b.png")
    assert sorted(item.name for item in collect.find([tmp_path])) == ["control_1/b.png", "images/a.png"]
