"""Films: cuts compared with the ground truth, the sharpest frame of each shot, and files that are no complete film."""

from __future__ import annotations

import gc
import itertools
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import ImageDraw

from miniature.film import HELD_OUT_SEED, encode, truth_path, write_film
from pipeline import pixels
from pipeline.films import adaptive, choice, cuts, decoding, shots
from pipeline.films.shots import FilmReader
from pipeline.records import Record, Rejected
from pipeline.sources.readers import film as reader
from pipeline.stages import collect
from pipeline.task import Task


def sample(folder: Path, draw) -> Path:
    """A film for the contract of readers."""
    pictures = [np.asarray(draw(seed, (320, 180))) for seed in (1, 2) for _ in range(14)]
    encode(folder / "a.mp4", iter(pictures), size=(320, 180), fps=12)
    return folder / "a.mp4"


def read(path: Path, task: Task, folder: Path) -> list[Record | Rejected]:
    (item,) = collect.find([path])
    return list(reader.read(item, task, folder))


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    return write_film(tmp_path_factory.mktemp("films") / "a.mp4", HELD_OUT_SEED + 301, shots=12, size=(384, 216))


def test_cuts_agree_with_the_ground_truth_and_every_frame_lies_in_its_shot(film, gather):
    records, rejected = gather(film.parent)
    assert {row.reason for row in rejected} <= {"short shot"}
    truth = json.loads(truth_path(film).read_text())
    hard = [shot["start"] for shot in truth["shots"] if shot["transition"] == "cut"]
    starts = [shot.start for shot in FilmReader(film).shots()]
    matched = sum(min(abs(cut - start) for start in starts) < 1.5 / truth["fps"] for cut in hard)
    assert matched >= 0.9 * len(hard) and len(hard) >= 9
    assert all(any(abs(start - shot["start"]) < 0.6 for shot in truth["shots"]) for start in starts)
    own = [record.position for record in records]
    assert {at.film for at in own} == {"a.mp4"} and [at.shot for at in own] == sorted({at.shot for at in own})
    ends = [*starts[1:], truth["shots"][-1]["end"]]
    assert all(starts[at.shot] < at.time < ends[at.shot] for at in own)
    assert all(abs(cut - at.time) >= choice.EDGE - 1 / truth["fps"] for cut in hard for at in own)


def test_a_film_gives_the_same_images_every_time(film, tmp_path, storyboard):
    first, second = (read(film, storyboard, tmp_path / run) for run in "ab")
    assert first == second and all(isinstance(item, Record) for item in first)
    assert all((tmp_path / "a" / r.path).read_bytes() == (tmp_path / "b" / r.path).read_bytes() for r in first)


def test_the_same_bytes_in_two_films_are_kept_once(film, tmp_path, gather):
    for name in ("first.mp4", "second.MP4"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(film.read_bytes())
    records, rejected = gather(tmp_path / "in")
    assert {record.position.film for record in records} == {"first.mp4"}
    copies = [row for row in rejected if row.reason == "exact copy"]
    assert len(copies) == len(records) and "first.mp4 shot 0." in copies[0].detail


def blurred_shots(draw, sharp: Iterable[int], size: tuple[int, int] = (640, 360)) -> Iterator[np.ndarray]:
    """Shots of 24 frames, each slightly out of focus except for one frame."""
    for shot, best in enumerate(sharp):
        focused = np.asarray(draw(100 + shot, size))
        soft = cv2.GaussianBlur(focused, None, 1.2)
        for number in range(24):
            yield focused if number == best else soft


def test_the_only_sharp_frame_of_each_shot_is_chosen(tmp_path, draw, storyboard):
    sharp = [7, 12, 18, 9]
    encode(tmp_path / "a.mp4", blurred_shots(draw, sharp), size=(640, 360), fps=12)
    records = read(tmp_path / "a.mp4", storyboard, tmp_path)
    assert [round(record.position.time * 12) - 24 * n for n, record in enumerate(records)] == sharp


def test_a_film_is_decoded_once_and_few_frames_are_kept_in_memory(tmp_path, draw, storyboard, monkeypatch):
    encode(tmp_path / "a.mp4", blurred_shots(draw, [9, 9], (320, 180)), size=(320, 180), fps=12)
    opened, held = [], []
    real_open, real_add = av.open, choice.Chooser.add
    monkeypatch.setattr(av, "open", lambda *a, **k: opened.append(a) or real_open(*a, **k))

    def add(self, frame):
        real_add(self, frame)
        held.append(len(self._waiting) + len(self._shelf._best))

    monkeypatch.setattr(choice.Chooser, "add", add)
    read(tmp_path / "a.mp4", storyboard, tmp_path)
    seconds = cuts.FLASH + 2 * choice.EDGE
    assert (len(opened), len(held)) == (1, 48)
    assert max(held) <= choice.CANDIDATES + adaptive.WINDOW + seconds * 12


def test_decoded_frames_are_freed_as_they_pass(tmp_path, draw, monkeypatch):
    """PyAV's side data and its frame keep each other alive until the garbage collector runs."""
    encode(tmp_path / "a.mp4", blurred_shots(draw, [9] * 6, (320, 180)), size=(320, 180), fps=12)
    alive = []
    real = choice.Chooser.add

    def add(self, frame):
        real(self, frame)
        alive.append(
            sum(
                type(one) is av.VideoFrame and bool(one.format) and one.format.name == "yuv420p"
                for one in gc.get_objects()
            )
        )

    monkeypatch.setattr(choice.Chooser, "add", add)
    gc.collect()
    gc.disable()
    gc.freeze()  # what other tests have left is not looked at again for every frame
    try:
        assert len(list(FilmReader(tmp_path / "a.mp4").shots())) == 6
    finally:
        gc.enable()
    assert len(alive) == 144 and max(alive) < 40


def write(
    path: Path, images: Iterable[np.ndarray], *, times: Iterable[int] | None = None, turn=0, wide=1, preset="superfast"
) -> Path:
    """A film with its own display times in ms, or rotated sideways, or with pixels that are not square."""
    with av.open(str(path), "w", format="matroska" if path.suffix == ".mkv" else "mp4") as container:
        stream = container.add_stream("libx264", rate=12, options={"crf": "12", "preset": preset})
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, 1000)
        stream.codec_context.sample_aspect_ratio = Fraction(wide)
        if turn:
            stream.set_display_rotation(turn)
        stamps = iter(times or (round(n * 1000 / 12) for n in range(10_000)))
        first = next(images := iter(images))
        stream.height, stream.width = first.shape[:2]
        for image in itertools.chain([first], images):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = next(stamps), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_a_film_with_a_variable_frame_rate_keeps_its_own_times(tmp_path, draw, storyboard):
    steps = [40] * 24 + [200] * 24 + [80] * 24
    stamps = [sum(steps[:n]) for n in range(72)]
    write(tmp_path / "a.mkv", blurred_shots(draw, [12, 12, 12], (320, 180)), times=stamps)
    times = [record.position.time for record in read(tmp_path / "a.mkv", storyboard, tmp_path)]
    assert times == pytest.approx([12 * 0.04, 24 * 0.04 + 12 * 0.2, 24 * 0.24 + 12 * 0.08], abs=0.01)


@pytest.mark.parametrize(("turn", "wide"), [(90, 1), (-90, 1), (180, 1), (0, Fraction(4, 3)), (90, Fraction(4, 3))])
def test_a_film_that_is_rotated_or_has_non_square_pixels_gives_upright_images(turn, wide, tmp_path, draw, storyboard):
    upright = draw(1, (240, 320))
    ImageDraw.Draw(upright).rectangle((0, 0, 60, 60), fill="red")
    stored = np.rot90(np.asarray(upright), -turn // 90)
    narrow = cv2.resize(stored, (int(stored.shape[1] / wide) // 2 * 2, stored.shape[0]), interpolation=cv2.INTER_AREA)
    write(tmp_path / "a.mp4", [narrow] * 14, turn=turn, wide=wide)
    (record,) = read(tmp_path / "a.mp4", storyboard, tmp_path)
    picture = pixels.open_image(tmp_path / record.path)
    assert picture.size == pytest.approx(upright.size, abs=2)
    difference = abs(np.asarray(picture.resize(upright.size), int) - np.asarray(upright, int))
    assert difference.mean() < 12


def test_a_file_that_is_not_a_film_is_one_rejected_row(tmp_path, gather, film):
    source = tmp_path / "in"
    source.mkdir()
    with av.open(str(source / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    (source / "text.mp4").write_text("not a film at all " * 40)
    (source / "empty.mkv").write_bytes(b"")
    (source / "folder.mp4").mkdir()
    (source / "nowhere.mov").symlink_to(source / "gone.mov")
    (source / "half.mp4").write_bytes(film.read_bytes()[:50_000])
    (source / ("long name " * 24 + ".mp4")).write_text("x")
    records, rejected = gather(source)
    rejections = {Path(row.what).name: (row.reason, row.detail.rpartition(".m")[2]) for row in rejected}
    assert not records and {name: reason for name, (reason, _) in rejections.items()} == {
        **dict.fromkeys(("sound.mp4", "empty.mkv", "nowhere.mov", "half.mp4"), "unreadable"),
        **dict.fromkeys(("text.mp4", "long name " * 24 + ".mp4"), "unsupported"),
    }
    assert rejections["sound.mp4"][1] == "p4 is not a complete film: it holds no pictures."
    assert rejections["text.mp4"][1] == "p4 is a text file, neither a film nor a picture."


def test_a_truncated_film_is_kept_up_to_that_point_and_says_so(film, tmp_path, gather):
    whole = tmp_path / "whole.mp4"
    with av.open(str(film)) as old, av.open(str(whole), "w", options={"movflags": "faststart"}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(old.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "part.mp4").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    records, rejected = gather(tmp_path / "in")
    assert 1 <= len(records) <= 6
    assert rejected[-1].reason == "cut off" and "its pictures end at" in rejected[-1].detail


def test_a_film_shorter_than_two_edges_is_a_short_shot(tmp_path, draw, gather):
    (tmp_path / "in").mkdir()
    encode(tmp_path / "in" / "a.mp4", iter([np.asarray(draw(1, (320, 180)))] * 4), size=(320, 180), fps=12)
    records, rejected = gather(tmp_path / "in")
    assert (records, [row.reason for row in rejected]) == ([], ["short shot"])


# ---- films that strangers made


def test_large_frames_are_held_smaller(tmp_path, draw, storyboard, monkeypatch):
    encode(tmp_path / "a.mp4", blurred_shots(draw, [9, 9]), size=(640, 360), fps=12)
    whole = [record.position.time for record in read(tmp_path / "a.mp4", storyboard, tmp_path)]
    monkeypatch.setattr(shots, "HELD_BYTES", 320 * 180 * 3 // 2)
    held = []
    real = choice.Chooser.add
    monkeypatch.setattr(choice.Chooser, "add", lambda self, one: held.append(one.frame) or real(self, one))
    records = read(tmp_path / "a.mp4", storyboard, tmp_path)
    assert {(frame.width, frame.height) for frame in held} == {(320, 180)}
    assert [record.position.time for record in records] == whole  # they are measured before
    for record, seed in zip(records, (100, 101), strict=True):
        picture = np.asarray(pixels.open_image(tmp_path / record.path), int)
        assert abs(picture - np.asarray(draw(seed, (640, 360)).resize((320, 180)), int)).mean() < 12


@pytest.mark.parametrize("turn", [0, 90])
def test_a_large_frame_is_held_with_its_turn_and_its_stretch(turn, tmp_path, draw, storyboard, monkeypatch):
    monkeypatch.setattr(shots, "HELD_BYTES", 160 * 120 * 3 // 2)
    write(tmp_path / "a.mp4", [np.asarray(draw(1, (320, 240)))] * 14, turn=turn, wide=Fraction(4, 3))
    (record,) = read(tmp_path / "a.mp4", storyboard, tmp_path)
    assert pixels.open_image(tmp_path / record.path).size == ((108, 195) if turn else (195, 108))


def test_frames_of_gigabytes_are_refused(tmp_path, draw, storyboard, monkeypatch):
    encode(tmp_path / "a.mp4", iter([np.asarray(draw(1, (320, 180)))] * 14), size=(320, 180), fps=12)
    monkeypatch.setattr(decoding, "MOST_PIXELS", 320 * 179)
    (row,) = read(tmp_path / "a.mp4", storyboard, tmp_path)
    assert row.reason == "unreadable"
    assert row.detail.endswith("a.mp4 is not a complete film: its frames have 320 x 180 pixels, more than 57,280.")


def test_pixels_that_are_said_to_be_a_thousand_times_as_wide_are_square(tmp_path, draw, storyboard):
    write(tmp_path / "a.mp4", [np.asarray(draw(1, (320, 240)))] * 14, wide=Fraction(1000))
    (record,) = read(tmp_path / "a.mp4", storyboard, tmp_path)
    assert pixels.open_image(tmp_path / record.path).size == (320, 240)


def test_emptiness_is_not_searched_for_pictures_for_hours(tmp_path, draw, storyboard, monkeypatch):
    """A terabyte of zeros takes no place on a disk."""
    write(tmp_path / "a.mkv", [np.asarray(draw(1, (320, 240)))] * 28)
    with (tmp_path / "a.mkv").open("r+b") as film:
        film.truncate(1 << 40)
    monkeypatch.setattr(decoding, "MOST_BETWEEN", 1 << 26)
    record, row = read(tmp_path / "a.mkv", storyboard, tmp_path)
    assert isinstance(record, Record)
    assert row.reason == "cut off" and row.detail.endswith("no picture is found in 67,108,864 bytes.")


def test_tags_that_are_not_utf_8_cost_no_film(tmp_path, draw, storyboard):
    encode(tmp_path / "a.mp4", iter([np.asarray(draw(1, (320, 180)))] * 14), size=(320, 180), fps=12)
    with av.open(str(tmp_path / "a.mp4")) as old, av.open(str(tmp_path / "b.mkv"), "w") as new:
        new.metadata["title"] = "PLACEHOLDER"
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(old.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    content = (tmp_path / "b.mkv").read_bytes()
    (tmp_path / "b.mkv").write_bytes(content.replace(b"PLACEHOLDER", "Müllers Fi".encode("latin-1") + b"l"))
    (record,) = read(tmp_path / "b.mkv", storyboard, tmp_path)
    assert record.position.film == "b.mkv"


@pytest.mark.parametrize(
    "playlist",
    [
        b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/secret.ts\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
    ],
)
def test_nothing_that_a_playlist_names_is_opened(playlist, tmp_path, storyboard):
    (tmp_path / "a.mp4").write_bytes(playlist)
    (row,) = read(tmp_path / "a.mp4", storyboard, tmp_path)
    assert row.reason == "unreadable" and "is not a complete film" in row.detail


def test_broken_films_print_nothing(tmp_path, draw, storyboard, capfd):
    encode(tmp_path / "a.mp4", blurred_shots(draw, [9, 9], (320, 180)), size=(320, 180), fps=12)
    content = bytearray((tmp_path / "a.mp4").read_bytes())
    content[2_000:12_000:37] = bytes(len(content[2_000:12_000:37]))
    (tmp_path / "a.mp4").write_bytes(content)
    assert read(tmp_path / "a.mp4", storyboard, tmp_path)
    assert capfd.readouterr() == ("", "")


PEAK = """
import sys
from pathlib import Path
from pipeline.films.shots import FilmReader
print(len([shot for shot in FilmReader(Path(sys.argv[1])).shots()]))
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(int(peak) * 1024)  # not `ru_maxrss`, which a process inherits
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says it")
@pytest.mark.slow  # writing such a film takes its time
@pytest.mark.timeout(600)
def test_a_film_of_8000_by_8000_pixels_takes_less_than_two_gigabytes(tmp_path):
    shots = [np.full((8000, 8000, 3), 40 + 150 * shot, np.uint8) for shot in range(2)]
    many = itertools.chain.from_iterable([shot] * 14 for shot in shots)  # 2.7 gigabytes for each shot
    write(tmp_path / "a.mp4", many, preset="ultrafast")
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path / "a.mp4")], capture_output=True, text=True, check=True
    )
    shots_found, peak = map(int, done.stdout.split())
    assert shots_found == 2 and peak < 2_000_000_000
