"""Masks beside a data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.stages import collect


def sample(folder: Path, draw) -> Path:
    """An image with its mask for the contract of readers."""
    for name in ("a.png", "a-masklabel.png"):
        draw(len(name)).save(folder / name)
    return folder


@pytest.mark.parametrize(
    ("names", "masks"),
    [
        (("a.png", "a-masklabel.png", "b-condlabel.png"), {"a-masklabel.png"}),
        (("x/a.png", "masks/a.png", "masks/b.png"), {"masks/a.png"}),
        (("a.png", "Mask/a.png", "x/y/mask/a.png"), {"Mask/a.png"}),
        (("masks/a.png", "conditioning/a.png"), set()),
    ],
)
def test_a_mask_is_a_file_beside_an_image_of_the_same_name(names, masks, tmp_path, draw):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        draw(1).save(tmp_path / name)
    assert {item.name for item in collect.find([tmp_path]) if item.mask} == masks
    alone = [item for name in names for item in collect.find([tmp_path / name])]
    assert not any(item.mask for item in alone)
    given = collect.find([tmp_path / name for name in names])
    assert {str(Path(item.source).relative_to(tmp_path)) for item in given if item.mask} == masks
