"""A film with a leader, a title, bars and subtitles, from the file to the pictures that are kept of it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from miniature import film
from miniature.draw import draw
from miniature.making import postproduction as post
from miniature.world import draw_character, draw_scene

FPS = 10
CINEMA = post.Bars(0, 46, 0, 46)
BLACK = np.zeros((360, 640, 3), np.uint8)


def frames() -> Iterator[np.ndarray]:
    """1.2 s of black, a title of 1.5 s, five scenes of 1.6 s (two with a subtitle, the fourth dark), credits, black."""
    rng, noise = random.Random(3), np.random.default_rng(0)
    title, _ = post.lettered(BLACK, ["THE LAST LANTERN"], (0.5, 0.5), size=0.1, opacity=0.99)
    yield from [BLACK] * 12 + [title] * 15
    for number, place in enumerate(("beach", "forest", "city", "kitchen", "desert")):
        scene = draw_scene(rng, draw_character(rng))
        for moment in range(16):
            image = post.panned(draw(replace(scene, place=place), time=moment / FPS), (3 * moment, 0))
            image = post.barred(post.darkened(image, 0.1, (0.4, 0.4)) if number == 3 else image, CINEMA, noise)
            if number == 1 or (number == 2 and moment > 8):
                image, _ = post.lettered(image, ["They will be here at dawn."], (0.5, 0.82))
            yield image
    names = ["Director  Mara Holm", "Camera  Ada Brandt", "Sound  Tom Reyes"]
    yield from (post.lettered(BLACK, names, (0.5, 0.9 - 0.03 * t), opacity=0.99)[0] for t in range(16))
    yield from [BLACK] * 12


def test_a_film_gives_clean_pictures_and_a_reason_for_the_rest(tmp_path: Path, gather) -> None:
    (tmp_path / "in").mkdir()
    film.encode(tmp_path / "in" / "film.mp4", frames(), size=(640, 360), fps=FPS)
    kept, rejected = gather(tmp_path / "in")
    assert len(kept) == 5
    assert "text card" in {row.reason for row in rejected} <= {"blank", "text card"}  # a leader may go with its title
    for row in rejected:
        with Image.open(tmp_path / "run" / row.picture) as picture:
            assert picture.width == 384
    for record in kept:
        grey = np.asarray(Image.open(tmp_path / "run" / record.path).convert("L"))
        assert grey.shape[1] == 640
        assert 262 <= grey.shape[0] <= 268
        assert min(grey[0].mean(), grey[-1].mean()) > 2
        assert any("bars cut away" in note for note in record.notes)
    lettered = [record.position.time for record in kept if any("burnt-in" in note for note in record.notes)]
    assert len(lettered) == 1
