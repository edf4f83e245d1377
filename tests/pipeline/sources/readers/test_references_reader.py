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


def test_the_start_of_a_pair_is_the_reference_image_of_its_end(tmp_path, draw):
    for number, name in enumerate(
        ("a_start.png", "a_start2.png", "a_end.png", "b_end.png", "c_start.png", "c_end.png")
    ):
        draw(number).save(tmp_path / name)
    for name in ("a", "b_end"):
        (tmp_path / f"{name}.txt").write_text("A hill.", encoding="utf-8")
    found = {item.name: item for item in collect.find([tmp_path])}
    assert {name: tuple(one.name for one in item.references) for name, item in found.items()} == {
        "a_end.png": ("a_start.png", "a_start2.png"),
        **dict.fromkeys(("b_end.png", "c_end.png", "c_start.png"), ()),
    }
    assert found["a_end.png"].text == "A hill." and not any(item.fault for item in found.values())


def test_a_text_of_the_picture_of_its_name_is_not_that_of_a_pair(tmp_path, draw):
    for number, name in enumerate(("a.png", "a_start.png", "a_end.png")):
        draw(number).save(tmp_path / name)
    (tmp_path / "a.txt").write_text("A hill.", encoding="utf-8")
    assert {item.name: (item.text, item.references) for item in collect.find([tmp_path])} == {
        "a.png": ("A hill.", ()),
        "a_start.png": ("", ()),
        "a_end.png": ("", ()),
    }
