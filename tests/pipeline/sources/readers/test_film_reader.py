"""Films: cuts compared with the ground truth, the sharpest frame of each shot, and files that are no complete film."""

from __future__ import annotations

import itertools
import json
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
    starts = [shot.start for shot in reader.shots(film, "a.mp4")]
    matched = sum(min(abs(cut - start) for start in starts) < 1.5 / truth["fps"] for cut in hard)
    assert matched >= 0.9 * len(hard) and len(hard) >= 9
    assert all(any(abs(start - shot["start"]) < 0.6 for shot in truth["shots"]) for start in starts)
    own = [record.position for record in records]
    assert {at.film for at in own} == {"a.mp4"} and [at.shot for at in own] == sorted({at.shot for at in own})
    ends = [*starts[1:], truth["shots"][-1]["end"]]
    assert all(starts[at.shot] < at.time < ends[at.shot] for at in own)
    assert all(abs(cut - at.time) >= reader.EDGE - 1 / truth["fps"] for cut in hard for at in own)


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
    real_open, real_take = av.open, reader._Cutter.take
    monkeypatch.setattr(av, "open", lambda *a, **k: opened.append(a) or real_open(*a, **k))

    def take(self, frame):
        held.append(len(self.waiting))
        return real_take(self, frame)

    monkeypatch.setattr(reader._Cutter, "take", take)
    read(tmp_path / "a.mp4", storyboard, tmp_path)
    assert (len(opened), len(held), max(held)) == (1, 48, reader.WINDOW + round(reader.EDGE * 12))


def write(path: Path, images: Iterable[np.ndarray], *, times: Iterable[int] | None = None, turn=0, wide=1) -> Path:
    """A film with its own display times in ms, or rotated sideways, or with pixels that are not square."""
    with av.open(str(path), "w", format="matroska" if path.suffix == ".mkv" else "mp4") as container:
        stream = container.add_stream("libx264", rate=12, options={"crf": "12", "preset": "superfast"})
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
