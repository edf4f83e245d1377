"""Single images."""

from __future__ import annotations

from pathlib import Path

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
