"""Films as people have them: containers, rates, damage, interlacing, tracks, fades, flashes, HDR, alpha, bars."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import filmed
import numpy as np
import pytest

from pipeline import pixels, task
from pipeline.records import Record, Rejected
from pipeline.sources.readers import film as reader
from pipeline.stages import collect
from pipeline.task import Task

Read = Callable[..., tuple[list[Record], dict[str, str]]]


@pytest.fixture
def read(tmp_path: Path, storyboard: Task) -> Read:
    """The records of a film, and its rejections' sentences by their reasons."""

    def read(path: Path, chosen: Task = storyboard) -> tuple[list[Record], dict[str, str]]:
        (item,) = collect.find([path])
        assert reader.claims(item, item.head(), chosen, tmp_path), "no film"
        found = list(reader.read(item, chosen, tmp_path))
        rows = {row.reason: row.detail for row in found if isinstance(row, Rejected)}
        return [one for one in found if isinstance(one, Record)], rows

    return read


def image(record: Record, folder: Path) -> np.ndarray:
    return np.asarray(pixels.open_image(folder / record.path))


# ---- what is a film


@pytest.mark.parametrize(
    ("name", "codec", "container"),
    [
        ("00001.MTS", "libx264", "mpegts"),
        ("00002.m2ts", "libx264", "mpegts"),
        ("VTS_01_1.VOB", "mpeg2video", "vob"),
        ("clip.3gp", "libx264", "3gp"),
        ("broadcast.mxf", "mpeg2video", "mxf"),
        ("film.ogv.bak", "mpeg4", "matroska"),
        ("stream.264", "libx264", "h264"),
        ("stream", "libx265", "hevc"),
        ("old.ivf", "libvpx-vp9", "ivf"),
        ("raw.y4m", "wrapped_avframe", "yuv4mpegpipe"),
        ("fragment.bin", "libx264", "nut"),
    ],
)
def test_a_film_is_known_by_its_content_whatever_it_is_called(
    name: str, codec: str, container: str, tmp_path: Path, read: Read
) -> None:
    options = {"b": "2000k", "preset": "superfast", "x265-params": "log-level=none", "deadline": "realtime"}
    path = filmed.write(
        tmp_path / name, filmed.shots([0, 1, 2]), codec=codec, container=container, options={**options, "cpu-used": "8"}
    )
    records, rows = read(path)
    assert (len(records), rows) == (3, {})
    assert [round(one.position.time // 2) for one in records] == [0, 1, 2]


def test_a_dv_tape_is_a_film(tmp_path: Path, read: Read) -> None:
    path = filmed.write(
        tmp_path / "tape.dv",
        filmed.shots([0, 1], 1.0, size=(720, 576)),
        codec="dvvideo",
        container="dv",
        options={},
    )
    records, _ = read(path)
    assert [image(one, tmp_path).shape for one in records] == [(576, 768, 3)] * 2


def test_a_transport_stream_that_begins_within_a_packet_is_a_film(tmp_path: Path, read: Read) -> None:
    whole = filmed.write(tmp_path / "whole.ts", filmed.shots([0, 1, 2]), container="mpegts", options={"g": "25"})
    (tmp_path / "cut.ts").write_bytes(whole.read_bytes()[1000:])
    records, _ = read(tmp_path / "cut.ts")
    assert len(records) >= 2


@pytest.mark.parametrize("content", [bytes(4096), np.random.default_rng(0).bytes(200_000), b"\x00\x00\x01" * 3000])
def test_bytes_without_meaning_are_no_film(content: bytes, tmp_path: Path, storyboard: Task) -> None:
    (tmp_path / "a.bin").write_bytes(content)
    (item,) = collect.find([tmp_path / "a.bin"])
    assert not reader.claims(item, item.head(), storyboard, tmp_path)


def test_the_main_track_is_read_and_not_the_first(tmp_path: Path, read: Read) -> None:
    with av.open(str(tmp_path / "two.mkv"), "w") as out:
        small = out.add_stream("libx264", rate=25, options=filmed.FAST)
        large = out.add_stream("libx264", rate=25, options=filmed.FAST)
        for stream, size in ((small, (96, 54)), (large, filmed.SIZE)):
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        large.disposition = av.stream.Disposition.default
        pairs = zip(filmed.shots([9], 8.0, size=(96, 54)), filmed.shots([0, 1, 2, 3]), strict=True)
        for pair in pairs:
            for stream, picture in zip((small, large), pair, strict=True):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        for stream in (small, large):
            out.mux(stream.encode())
    records, rows = read(tmp_path / "two.mkv")
    assert [image(one, tmp_path).shape for one in records] == [(108, 192, 3)] * 4 and rows == {}


# ---- time


@pytest.mark.parametrize(
    ("rate", "seconds", "name"),
    [
        (Fraction(1, 5), 5.0, "a.mp4"),
        (Fraction(1, 5), 5.0, "a.mkv"),
        (Fraction(1, 60), 60.0, "a.mp4"),
        (1, 1.0, "a.mp4"),
        (2, 5.0, "a.mp4"),
        (5, 1.0, "a.mp4"),
        (240, 1.0, "a.mp4"),
    ],
)
def test_slides_are_found_at_every_rate(
    rate: Fraction | int, seconds: float, name: str, tmp_path: Path, read: Read
) -> None:
    count = 9 if rate < 100 else 3
    slides = (filmed.scene(seed, size=(96, 54)) for seed in range(count) for _ in range(round(seconds * rate)))
    records, rows = read(filmed.write(tmp_path / name, slides, rate=rate))
    assert (len(records), rows) == (count, {})  # the last one stands as long as the others: nothing is cut off
    assert [int(one.position.time // seconds) for one in records] == list(range(count))


def test_what_moves_at_two_pictures_a_second_is_still_one_shot(tmp_path: Path, read: Read) -> None:
    records, rows = read(filmed.write(tmp_path / "a.mp4", filmed.shots([0, 1, 2], 5.0, 2), rate=2))
    assert (len(records), rows) == (3, {})


def test_a_recording_whose_clock_begins_anew_keeps_all_its_shots(tmp_path: Path, read: Read) -> None:
    parts = [filmed.write(tmp_path / f"{n}.ts", filmed.shots([n, n + 1], 1.0), container="mpegts") for n in (0, 2)]
    (tmp_path / "joined.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    records, _ = read(tmp_path / "joined.ts")
    times = [one.position.time for one in records]
    assert len(times) == 4 and times == sorted(times) and times[-1] < 4


# ---- damage


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {**filmed.FAST, "g": "50"}),
        ("a.mp4", "libx265", {"preset": "superfast", "g": "50", "x265-params": "log-level=none"}),
        ("a.avi", "mpeg4", {"qscale": "3", "g": "25"}),
        ("a.avi", "mjpeg", {}),
    ],
)
def test_damage_costs_the_damaged_stretch_and_is_told(
    name: str, codec: str, options: dict[str, str], tmp_path: Path, read: Read
) -> None:
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = filmed.write(tmp_path / name, filmed.shots([0, 1, 2, 3]), codec=codec, options=options, pixels=pixels)
    records, rows = read(filmed.zero(path, 2.6, 2.72))
    assert {0, 2, 3} <= {round(one.position.time // 2) for one in records} and len(records) <= 4
    assert set(rows) == {"damaged"}
    start, end = (float(rows["damaged"].split(word)[1].split()[0]) for word in (" from ", " to "))
    assert 2.2 <= start <= 2.64 and 2.68 <= end <= 4.0
    for record in records:
        seed = int(record.position.time // 2)
        truth = filmed.scene(seed, record.position.time - 2 * seed).astype(int)
        assert abs(image(record, tmp_path) - truth).mean() < 12


def test_a_film_without_key_frames_keeps_the_shots_after_its_damage(tmp_path: Path, read: Read) -> None:
    options = {"preset": "superfast", "x265-params": "log-level=none:scenecut=0:keyint=-1"}
    path = filmed.write(tmp_path / "a.mp4", filmed.shots([0, 1, 2, 3]), codec="libx265", options=options)
    records, rows = read(filmed.zero(path, 2.6, 2.72))
    assert {0, 2, 3} <= {round(one.position.time // 2) for one in records} and set(rows) == {"damaged"}
    assert [one.notes for one in records if one.position.time > 4] == [("follows damage in its film",)] * 2


def test_a_frame_with_garbage_in_it_is_not_taken_for_the_sharpest(tmp_path: Path, read: Read) -> None:
    """Lossless, so that no decoder can know."""
    pictures = list(filmed.shots([0], 2.0))
    for n in (12, 30):
        pictures[n] = np.random.default_rng(n).integers(0, 256, pictures[n].shape, np.uint8)
    path = filmed.write(tmp_path / "a.mkv", pictures, codec="ffv1", options={}, pixels="yuv444p")
    (record,), _ = read(path)
    assert round(record.position.time * 25) not in (12, 30)


# ---- interlaced films


def fields(seed: int, frames: int, size: tuple[int, int]) -> list[np.ndarray]:
    """Frames of two moments each: a bar moves by 14 pixels from one to the next."""
    ground = filmed.scene(seed, size=size)
    made = []
    for moment in range(2 * frames):
        picture = ground.copy()
        place = moment * 14 % size[0]
        picture[size[1] // 9 : -size[1] // 9, place : place + 90] = 250
        made.append(picture)
    for early, late in zip(made[1::2], made[::2], strict=True):
        early[::2] = late[::2]  # even lines are of the moment before
    return made[1::2]


@pytest.mark.parametrize("told", [True, False])
def test_interlaced_films_give_pictures_of_one_moment(told: bool, tmp_path: Path, read: Read) -> None:
    flags = {"flags": "+ilme+ildct", "b": "9000k"} if told else {"b": "9000k"}
    pictures = [*fields(0, 30, (360, 288)), *fields(1, 30, (360, 288))]
    assert filmed.combing(pictures[3]) > 0.02
    records, _ = read(filmed.write(tmp_path / "a.mpg", pictures, codec="mpeg2video", options=flags))
    assert len(records) == 2
    assert max(filmed.combing(image(one, tmp_path)) for one in records) < 0.005


# ---- what is no cut, and what is no picture


def test_flashes_are_no_cuts(tmp_path: Path, read: Read) -> None:
    def film():
        for n, picture in enumerate(filmed.shots([0, 1], 6.0)):
            bright = n % 150 in (40, 41, 80, 81, 82, 120)
            yield np.clip(picture.astype(int) + 150 * bright, 0, 255).astype(np.uint8)

    records, rows = read(filmed.write(tmp_path / "a.mp4", film()))
    assert [one.position.time // 6 for one in records] == [0, 1] and rows == {}


def test_fades_through_black_give_their_shots_and_no_black_picture(tmp_path: Path, read: Read) -> None:
    def film():
        black = np.zeros((108, 192, 3), np.uint8)
        yield from [black] * 50
        for seed in range(3):
            for n, picture in enumerate(filmed.shots([seed], 3.0)):
                yield (picture * min(1, n / 20, (74 - n) / 20)).astype(np.uint8)
            yield from [black] * 25

    records, rows = read(filmed.write(tmp_path / "a.mp4", film()))
    assert len(records) == 3 and "black" in rows["blank"]
    assert all(image(one, tmp_path).mean() > 40 for one in records)


# ---- colour


PATCHES = [(200, 40, 40), (255, 255, 255), (128, 128, 128), (16, 16, 16)]


def patches() -> np.ndarray:
    return np.repeat(np.repeat(np.array([PATCHES], np.uint8), 64, 0), 48, 1)


def hdr(transfer: int) -> np.ndarray:
    """The patches as a screen shows them, with white at 203 nits, in BT.2020 and one of the curves of BT.2100."""
    code = patches() / 255
    light = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
    wide = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])  # BT.2087
    nits = 203 * light @ wide.T
    if transfer == 16:
        power = (nits / 10000) ** 0.1593017578125
        coded = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    else:
        luminance = nits @ [0.2627, 0.6780, 0.0593] / 1000
        seen = nits / 1000 * np.maximum(luminance, 1e-9)[..., None] ** (1 / 1.2 - 1)
        low, high = np.minimum(seen, 1 / 12), np.maximum(seen, 1 / 12)
        coded = np.where(seen <= 1 / 12, np.sqrt(3 * low), 0.17883277 * np.log(12 * high - 0.28466892) + 0.55991073)
    return np.round(coded * 65535).astype(np.uint16)


@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_films_look_as_their_sdr_originals(transfer: int, tmp_path: Path, read: Read) -> None:
    path = filmed.write(
        tmp_path / "a.mp4",
        [hdr(transfer)] * 25,
        codec="libx265",
        pixels="yuv420p10le",
        source="rgb48le",
        options={"crf": "6", "preset": "ultrafast", "x265-params": "log-level=none"},
        tags=(9, 9, transfer),
    )
    picture = image(read(path)[0][0], tmp_path).astype(int)
    for n, colour in enumerate(PATCHES):
        assert abs(picture[32, 48 * n + 24] - colour).max() <= 6


def test_transparent_parts_of_films_are_white(tmp_path: Path, read: Read) -> None:
    def film():
        for picture in filmed.shots([0, 1]):
            alpha = np.full((108, 192, 1), 255, np.uint8)
            picture[:, :96], alpha[:, :96] = (0, 255, 0), 0
            yield np.concatenate([picture, alpha], axis=2)

    path = filmed.write(tmp_path / "a.mov", film(), codec="qtrle", pixels="argb", source="rgba", options={})
    records, _ = read(path)
    assert len(records) == 2
    assert all(image(one, tmp_path)[:, :88].min() > 245 for one in records)


@pytest.mark.parametrize("turn", [0, 90])
def test_mirrored_films_are_turned_back(turn: int, tmp_path: Path, read: Read) -> None:
    upright = filmed.scene(3)
    stored = np.rot90(upright, -turn // 90)[:, ::-1] if not turn else np.rot90(upright[:, ::-1], -turn // 90)
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=25, options=filmed.FAST)
        stream.pix_fmt, (stream.height, stream.width) = "yuv420p", stored.shape[:2]
        stream.set_display_rotation(turn, hflip=True)
        for _ in range(20):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(stored), format="rgb24")))
        out.mux(stream.encode())
    picture = image(read(tmp_path / "a.mp4")[0][0], tmp_path)
    others = [np.rot90(way, n) for way in (upright, upright[:, ::-1]) for n in range(4)]
    alike = [float(abs(picture.astype(int) - one).mean()) if one.shape == picture.shape else 255.0 for one in others]
    assert int(np.argmin(alike)) == 0


# ---- bars, and how the settings are used


def boxed(size: tuple[int, int]) -> np.ndarray:
    width, height = size
    for picture in filmed.shots([0, 1, 2], 1.6, size=size):
        frame = np.zeros((216, 384, 3), np.uint8)
        x, y = (384 - width) // 2, (216 - height) // 2
        frame[y : y + height, x : x + width] = picture
        yield frame


@pytest.mark.parametrize("size", [(384, 160), (288, 216)])
def test_bars_are_cut_away_and_the_record_says_so(size: tuple[int, int], tmp_path: Path, read: Read) -> None:
    path = filmed.write(tmp_path / "a.mp4", boxed(size))
    records, _ = read(path)
    assert len(records) == 3
    for record in records:
        height, width, _ = image(record, tmp_path).shape
        assert size[0] - 6 <= width <= size[0] and size[1] - 6 <= height <= size[1]
        assert any("bars cut away" in note for note in record.notes)
    kept, _ = read(path, task.load("storyboard", {"shots.bars": False}))
    assert {image(one, tmp_path).shape[:2] for one in kept} == {(216, 384)} and not any(one.notes for one in kept)


def test_nothing_is_left_beside_the_pictures(tmp_path: Path, read: Read) -> None:
    read(filmed.write(tmp_path / "a.mp4", filmed.shots([0, 1])))
    assert {path.suffix for path in (tmp_path / "collected").rglob("*.*")} == {".jpg"}
    shutil.rmtree(tmp_path / "collected")
