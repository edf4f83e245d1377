"""Single images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import files, task
from pipeline.sources.readers import picture as reader
from pipeline.stages import collect


def sample(folder: Path, draw) -> Path:
    """An image for the contract of readers."""
    draw(1).save(folder / "a.png")
    return folder


def test_the_facts_that_a_listing_gives_about_an_image_are_in_its_record(tmp_path, draw, storyboard):
    draw(1).save(tmp_path / "a.png")
    (tmp_path / "metadata.csv").write_text("file_name,text,licence,author,url,group\na.png,a cat,CC0,Ada,http://x,g\n")
    (item,) = collect.find([tmp_path])
    (record,) = reader.read(item, storyboard, tmp_path)
    assert (record.path, record.text, record.licence, record.author, record.url, record.position.group) == (
        *(str(tmp_path / "a.png"), "a cat", "CC0"),
        *("Ada", "http://x", "g"),
    )


def animation(path: Path, draw, count: int = 4) -> Path:
    """Frames of which the second holds twice as long."""
    frames = [draw(seed, (96, 54)) for seed in range(count)]
    frames.insert(2, frames[1].copy())
    more = {"lossless": True} if path.suffix == ".webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], **more)
    return path


@pytest.mark.parametrize("ending", ["gif", "webp", "png", "avif", "tif"])
def test_an_animation_gives_its_first_frame_and_says_so(ending, tmp_path, draw, gather, measure):
    (tmp_path / "in").mkdir()
    animation(tmp_path / "in" / f"a.{ending}", draw)
    (record,), _ = gather(tmp_path / "in")
    assert record.id == files.digest(tmp_path / "in" / f"a.{ending}")
    small = task.load("storyboard", {"layout.max_enlarge": 20})
    (found,), _ = measure([record], small)
    assert "the first of several frames or pages" in found.notes


@pytest.mark.parametrize("ending", ["gif", "webp", "png", "tif"])
def test_an_animation_may_give_every_frame_that_differs_in_order(ending, tmp_path, draw, gather, measure):
    frames = task.load("storyboard", {"pictures.animated": "frames", "layout.max_enlarge": 20})
    (tmp_path / "in").mkdir()
    path = animation(tmp_path / "in" / f"a.{ending}", draw)
    draw(9).save(tmp_path / "in" / "b.png")
    records, rejected = gather(tmp_path / "in", frames)
    assert not rejected
    (*of_film, single) = records
    assert [(each.position.stem, each.position.order) for each in of_film] == [
        (f"a-{number + 1:03}", number) for number in range(4)
    ]
    assert {each.position.folder for each in of_film} == {str(path)} and single.position.stem == "b"
    for seed, record in enumerate(of_film):
        with Image.open(tmp_path / "run" / record.path) as frame:
            assert np.abs(np.asarray(frame.convert("RGB"), int) - np.asarray(draw(seed, (96, 54)), int)).mean() < 16
        assert files.digest(tmp_path / "run" / record.path) == record.id
    kept, _ = measure(records, frames)
    assert len(kept) == 5 and not any("frames" in note for record in kept for note in record.notes)


def test_frames_beyond_the_limit_are_a_row(tmp_path, draw, gather, monkeypatch):
    monkeypatch.setattr(reader, "MOST_FRAMES", 2)
    (tmp_path / "in").mkdir()
    animation(tmp_path / "in" / "a.gif", draw)
    records, (row,) = gather(tmp_path / "in", task.load("storyboard", {"pictures.animated": "frames"}))
    assert len(records) == 2 and row.reason == "too many frames"
    assert row.detail.endswith("a.gif has more than 2 different frames; those after them are left out.")


def test_frames_before_a_damaged_one_are_kept(tmp_path, draw, gather):
    (tmp_path / "in").mkdir()
    path = animation(tmp_path / "in" / "a.tif", draw)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 5])
    records, rejected = gather(tmp_path / "in", task.load("storyboard", {"pictures.animated": "frames"}))
    assert len(records) + len(rejected) >= 1 and all("a.tif" in row.detail for row in rejected)
