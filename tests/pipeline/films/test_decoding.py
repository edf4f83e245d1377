"""Decoding: time stamps, what is damaged, and what is left when a film is closed."""

from __future__ import annotations

import io
from pathlib import Path

import filmed
import numpy as np
import pytest
from PIL import Image

from pipeline.films.decoding import Film, Picture, State, is_film


def pictures(path: Path) -> tuple[Film, list[Picture]]:
    with path.open("rb") as file:
        film = Film(file)
        return film, list(film.pictures())


def test_times_begin_at_zero_and_rise(tmp_path: Path) -> None:
    path = filmed.write(tmp_path / "a.ts", filmed.shots([0], 1.0), container="mpegts")  # its stamps begin at 1.4 s
    film, found = pictures(path)
    assert [one.time for one in found] == pytest.approx([n / 25 for n in range(25)], abs=1e-3)
    assert film.end == pytest.approx(1.0, abs=1e-3) and film.fault == ""


def test_a_raw_stream_has_the_times_of_its_rate(tmp_path: Path) -> None:
    path = filmed.write(tmp_path / "a.264", filmed.shots([0], 1.0), container="h264", options={"bf": "0"})
    _, found = pictures(path)
    assert [one.time for one in found] == pytest.approx([n / 25 for n in range(25)], abs=1e-3)


def test_pictures_after_damage_are_doubtful_until_the_next_key_frame(tmp_path: Path) -> None:
    options = {**filmed.FAST, "g": "25", "sc_threshold": "0", "bf": "0"}
    path = filmed.zero(filmed.write(tmp_path / "a.mp4", filmed.shots([0], 3.0), options=options), 1.2, 1.32)
    film, found = pictures(path)
    ((start, end),) = film.damage
    assert 1.0 <= start <= 1.2 and end == pytest.approx(2.0)
    assert {one.state for one in found if one.time < 1.0 or one.time >= 2.0} == {State.GOOD}
    assert State.DOUBTFUL in {one.state for one in found if 1.32 <= one.time < 2.0}
    assert sum(one.lost for one in found) == 1 and film.fault == ""


def test_a_whole_film_has_no_damage(tmp_path: Path) -> None:
    options = {**filmed.FAST, "bf": "3", "g": "12"}
    film, found = pictures(filmed.write(tmp_path / "a.mp4", filmed.shots([0, 1], 1.0), options=options))
    assert (film.damage, film.fault, {one.state for one in found}) == ([], "", {State.GOOD})


def test_a_picture_outlives_its_film(tmp_path: Path) -> None:
    path = filmed.write(tmp_path / "a.mp4", filmed.shots([0], 1.0))
    _, found = pictures(path)
    assert found[7].stretch == 1.0 and found[7].frame.to_ndarray(format="rgb24").shape == (108, 192, 3)


def test_a_picture_file_is_no_film(tmp_path: Path, draw) -> None:
    for name in ("a.png", "a.gif", "a.webp", "a.bmp", "a.tga"):
        draw(1, (64, 64)).save(tmp_path / name)
        assert not is_film((tmp_path / name).read_bytes())


def test_a_jpeg_with_a_broken_mark_and_its_thumbnail_are_no_film(draw) -> None:
    whole, thumbnail = (_jpeg(draw(1, size)) for size in ((640, 480), (160, 120)))
    broken = whole[:2] + b"\0" + whole[3:]
    assert not is_film(broken) and not is_film(broken + thumbnail)
    assert is_film(b"\0" + whole * 2)  # a motion JPEG


def _jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG")
    return buffer.getvalue()


def test_sound_with_a_cover_is_no_film(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        sound = out.add_stream("aac", rate=8000)
        for packet in sound.encode(_silence()):
            out.mux(packet)
        out.mux(sound.encode())
    assert not is_film((tmp_path / "a.mkv").read_bytes())


def _silence():
    import av

    frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
    frame.sample_rate = 8000
    return frame
