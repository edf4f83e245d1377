"""Crops keep faces, else what stands out, and say what they cut."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter
from skimage import data

from pipeline import pixels
from pipeline.pixels import faces, subject
from pipeline.records import Layout, Position, Record
from pipeline.stages import compose, inspect
from pipeline.task import LayoutSection

WIDE, TALL = (1024, 512), (512, 768)
FACE = (175, 60, 275, 190)
"""Left, top, right, bottom of the astronaut's face."""


@pytest.fixture(scope="module")
def astronaut() -> Image.Image:
    return Image.fromarray(data.astronaut())


def window(size: tuple[int, int], panel: tuple[int, int], focus: float) -> tuple[float, float, float, float]:
    """What of a picture a crop keeps."""
    upright, lost = pixels.crop_of(*size, panel)
    start, length = lost * focus, 1 - lost
    if upright:
        return 0, start * size[1], size[0], (start + length) * size[1]
    return start * size[0], 0, (start + length) * size[0], size[1]


@pytest.mark.parametrize(
    ("part", "panel"),
    [((0, 0, 512, 512), WIDE), ((0, 0, 512, 400), TALL), ((100, 0, 512, 300), TALL), ((0, 40, 512, 500), WIDE)],
)
def test_a_face_at_the_edge_stays_whole(
    part: tuple[int, int, int, int], panel: tuple[int, int], astronaut: Image.Image
) -> None:
    picture = astronaut.crop(part)
    focus, phrase = subject.focus_of(picture, picture.size, panel)
    left, top, right, bottom = window(picture.size, panel, focus)
    face = [FACE[0] - part[0], FACE[1] - part[1], FACE[2] - part[0], FACE[3] - part[1]]
    assert left <= face[0] and top <= face[1] and face[2] <= right and face[3] <= bottom, phrase
    assert phrase.startswith("cropped ") and "keeps 1 " in phrase  # there may be a false alarm besides


def test_the_phrase_tells_what_is_cut_on_which_side() -> None:
    assert subject._phrase(True, 0.5, 0.0, (1, 1), True) == "cropped 50 % at the bottom, keeps 1 face"
    assert subject._phrase(False, 0.4, 0.25, (1, 2), True) == (
        "cropped 10 % on the left and 30 % on the right, keeps 1 of 2 faces"
    )
    assert subject._phrase(True, 0.2, 0.5, (0, 0), False) == (
        "cropped 10 % at the top and 10 % at the bottom, about the centre"
    )


@pytest.mark.parametrize("place", [0.2, 0.8])
def test_without_faces_what_stands_out_stays(place: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces, "can_be_found", lambda: False)
    rng = np.random.default_rng(0)
    ground = (
        Image.fromarray(rng.integers(118, 138, (60, 40, 3), np.uint8))
        .resize((600, 900))
        .filter(ImageFilter.GaussianBlur(6))
    )
    centre = round(900 * place)
    ImageDraw.Draw(ground).ellipse((260, centre - 60, 340, centre + 60), fill=(220, 40, 30))
    focus, phrase = subject.focus_of(ground, ground.size, (600, 400))
    _, top, _, bottom = window(ground.size, (600, 400), focus)
    assert top <= centre - 60 and centre + 60 <= bottom and phrase.endswith("keeps what stands out")


def test_where_nothing_stands_out_the_crop_is_in_the_centre() -> None:
    focus, phrase = subject.focus_of(Image.new("RGB", (600, 600), "grey"), (600, 600), WIDE)
    assert (focus, phrase) == (0.5, "cropped 25 % at the top and 25 % at the bottom, about the centre")


def test_a_picture_of_the_panels_shape_is_not_looked_at(monkeypatch: pytest.MonkeyPatch, draw) -> None:
    monkeypatch.setattr(faces, "find", lambda _: pytest.fail("looked for faces"))
    assert subject.focus_of(draw(1, (1280, 640)), (1280, 640), WIDE) == (0.5, "")
    assert subject.focus_of(draw(1, (1290, 640)), (1290, 640), WIDE) == (0.5, "")


def test_inspect_stores_where_a_crop_is_and_every_drawing_uses_it(
    astronaut: Image.Image, tmp_path: Path, gather, measure, storyboard
) -> None:
    (tmp_path / "in").mkdir()
    astronaut.crop((0, 0, 512, 460)).save(tmp_path / "in" / "a.png")
    (record,), _ = measure(gather(tmp_path / "in")[0])
    again = inspect.measure(record, tmp_path / "run", storyboard.layout)
    assert record.focus < 0.5 and record.focus == again.focus
    assert record.notes == (subject.focus_of(astronaut.crop((0, 0, 512, 460)), (512, 460), WIDE)[1],)
    drawn = [
        compose.draw([Path(record.path)], Layout(1, 1, *WIDE), "crop", focus)
        for focus in ([record.focus], [record.focus], ())
    ]
    assert drawn[0].tobytes() == drawn[1].tobytes() != drawn[2].tobytes()
    assert drawn[0].size == WIDE


def test_padded_pictures_are_not_cropped(astronaut: Image.Image, tmp_path: Path, gather) -> None:
    (tmp_path / "in").mkdir()
    astronaut.save(tmp_path / "in" / "a.png")
    (record,), _ = gather(tmp_path / "in")
    layout = LayoutSection(rows=1, cols=1, panel_width=1024, panel_height=512, fit="pad")
    found = inspect.measure(record, tmp_path / "run", layout)
    assert (found.focus, found.notes) == (0.5, ())


def test_a_run_says_what_it_left_out_of_its_pictures(tmp_path: Path, draw, storyboard, monkeypatch) -> None:
    monkeypatch.setattr(faces, "can_be_found", lambda: False)
    stage = inspect.stage(storyboard, tmp_path, 1)
    plain = Record("a", "a.png", "in/a.png", Position())
    assert stage.facts([plain]) == {"remarks": []}
    notes = ("the first of several frames or pages", "its colour profile is ignored: it can't be read", "cropped 9 %")
    several, profile, faceless = stage.facts([plain, replace(plain, notes=notes)])["remarks"]
    assert several == (
        "1 picture has several frames or pages, of which the first counts (pictures.animated=frames takes all): "
        "in/a.png."
    )
    assert profile == "1 picture has a colour profile of no use: in/a.png."
    assert faceless == "crops keep what stands out, but faces aren't looked for: pip install 'iclora[faces]'."
