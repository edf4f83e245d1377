"""What the mini Kontext is taught: to draw from a picture whom a text only names."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from miniature.making import train_kontext
from miniature.making.flux_data import PANELS, draw_large, draw_panel, is_held_out
from miniature.making.frames import Pool
from miniature.making.reader import Reader
from miniature.making.resumable import Place
from miniature.making.train_kontext import PAGES, Album
from miniature.world import COLOURS, KINDS, Character
from training.config import MINIATURE

EACH = PANELS + 2
"""Pictures of every character."""


@pytest.fixture(scope="module")
def cast() -> list[Character]:
    """Two characters that the mini FLUX knows, and one that it does not."""
    everyone = [Character(kind, colour, "hat") for kind in KINDS for colour in COLOURS]
    known, strange = ([one for one in everyone if is_held_out(one) == held] for held in (False, True))
    return [known[0], known[-1], strange[0]]


@pytest.fixture(scope="module")
def album(cast: list[Character], tmp_path_factory: pytest.TempPathFactory) -> Album:
    rng = random.Random(0)
    scenes = [replace(draw_large(rng), character=one) for one in cast for _ in range(EACH)]
    frames = np.stack([draw_panel(scene, filmed=True) for scene in scenes])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_kontext, "render", lambda *_, **__: Pool(frames, scenes))
        vae = AutoencoderKL.from_pretrained(MINIATURE / "vae", torch_dtype=torch.float32)
        return Album(vae, Reader.load(), Place(tmp_path_factory.mktemp("album")))


def test_nobody_is_shown_who_is_asked_for_later(album: Album, cast: list[Character]) -> None:
    assert {scene.character for scene in album.scenes} == set(cast[:2])
    assert len(album.latents) == len(album.references) == len(album.scenes) == 2 * EACH


def test_a_page_shows_one_character_whom_one_text_describes_and_the_other_names(
    album: Album, cast: list[Character]
) -> None:
    looks = [one.words for one in cast[:2]]
    lessons = [album.draw(step) for step in range(4)]
    for described, named in ((a, b) for one in lessons for a, b in zip(one.described, one.named, strict=True)):
        assert sorted(described.count(words) for words in looks) == [0, PANELS]
        assert not any(words in named for words in looks)
        name = named[named.index("<") : named.index(">") + 1]
        assert named.count(name) >= PANELS and described.count(name) == PANELS


def test_the_reference_is_another_picture_than_those_of_the_page(album: Album, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(album, "latents", torch.arange(len(album.scenes)).view(-1, 1, 1, 1).expand(-1, 16, 8, 16))
    monkeypatch.setattr(album, "references", torch.arange(len(album.scenes)).view(-1, 1, 1, 1).expand(-1, 16, 10, 22))
    monkeypatch.setattr(train_kontext.objective, "shifted", lambda sigma, _: torch.zeros_like(sigma))  # no noise
    lesson = album.draw(0)
    for page, reference in zip(lesson.noisy, lesson.references, strict=True):
        panels = {int(value) for value in page.unique()}
        (seen,) = {int(value) for value in reference.unique()}
        assert len(panels) == PANELS and seen not in panels
        assert len({album.scenes[number].character for number in (*panels, seen)}) == 1
    assert len(lesson.noisy) == PAGES and lesson.meanings.shape[1] == PANELS * 32 + 55


def test_what_was_encoded_is_kept(album: Album, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path)
    kept = {name: getattr(album, name) for name in ("latents", "references", "meanings", "scenes")}
    place.save("album", kept)
    monkeypatch.setattr(train_kontext, "render", lambda *_, **__: pytest.fail("drawn again"))
    assert torch.equal(Album(None, Reader.load(), place).latents, album.latents)
