"""From files to records: what is found, in which order, with which text, and that nothing is lost on the way."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from miniature.film import HELD_OUT_SEED, encode, truth_path, write_film
from pipeline import pixels, task
from pipeline.errors import BadInput
from pipeline.records import Record
from pipeline.sources import grids, video
from pipeline.sources.base import text_of
from pipeline.stages import collect, compose

JOINT = "[MOVIE-SHOTS] A day, [SCENE-1] <Mia> wakes up early, [SCENE-2] she walks away, [SCENE-3] night falls."
LAYOUTS = {name: task.load(name) for name in task.names()}


def stems(records: Iterable[Record]) -> list[str]:
    return [record.position.stem for record in records]


def save(picture: Image.Image, *paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)


# ---- which files, in which order


def test_files_come_in_natural_order_and_sidecars_and_hidden_ones_are_passed_over(tmp_path):
    names = ("shot 10.png", "shot 2.PNG", "shot 1.jpg", "²/1²3.png", "a/x.jpg", "a b/x.jpg")
    beside = (".hidden.png", ".git/a.png", "shot 1.txt", "list.CSV", "run/run.db", "run/grids/a.png")
    for name in names + beside:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = [str(file.path.relative_to(tmp_path)) for file in collect.find([tmp_path])]
    assert sorted(found) == sorted(names)
    assert [name for name in found if name.startswith("shot")] == ["shot 1.jpg", "shot 2.PNG", "shot 10.png"]


def test_links_are_followed_once_and_keep_their_own_names(tmp_path, draw, gather):
    save(draw(1), tmp_path / "store" / "blob.png")
    (tmp_path / "store" / "blob.png").rename(tmp_path / "store" / "blob")
    source = tmp_path / "in"
    (source / "deep").mkdir(parents=True)
    (source / "named.png").symlink_to(tmp_path / "store" / "blob")
    (source / "named.txt").write_text("a cat on a mat")
    (source / "deep" / "back").symlink_to(source)
    (source / "outside").symlink_to(tmp_path / "more")
    save(draw(2), tmp_path / "more" / "b.png")
    records, rejected = gather(source)
    assert (stems(records), records[0].text, rejected) == (["named", "b"], "a cat on a mat", [])


def test_a_source_that_is_missing_or_empty_is_an_error_that_says_so(tmp_path):
    with pytest.raises(BadInput, match=r"nowhere does not exist; give a film"):
        collect.find([tmp_path / "nowhere"])
    (tmp_path / "a.txt").write_text("only text")
    with pytest.raises(BadInput, match="no films and no pictures in"):
        collect.find([tmp_path])


def test_a_name_that_no_table_can_hold_is_a_rejected_row(tmp_path, draw, gather):
    save(draw(1), tmp_path / "in" / "a.png")
    os.rename(tmp_path / "in" / "a.png", os.fsencode(tmp_path / "in") + b"/caf\xe9.png")
    _, rejected = gather(tmp_path / "in")
    assert [row.reason for row in rejected] == ["name"]
    assert rejected[0].what.encode().endswith(b"caf?.png")


# ---- exact copies, and going on


def test_an_exact_copy_is_dropped_and_the_first_is_named(tmp_path, draw, gather):
    save(draw(1), tmp_path / "in" / "a.png", tmp_path / "in" / "b" / "again.png")
    records, rejected = gather(tmp_path / "in")
    assert (stems(records), [row.reason for row in rejected]) == (["a"], ["exact copy"])
    assert rejected[0].detail.endswith(f"again.png has the same bytes as {tmp_path / 'in' / 'a.png'}.")


def test_a_changed_source_does_not_make_copies_of_what_an_earlier_run_collected(tmp_path, draw, storyboard):
    save(draw(1), tmp_path / "in" / "a.png", tmp_path / "in" / "b.png")
    files = collect.find([tmp_path / "in"])
    known = [item for item in collect.stage(storyboard, files, tmp_path, []).run(files) if isinstance(item, Record)]
    assert stems(known) == ["a"]
    (tmp_path / "in" / "a.png").unlink()
    files = collect.find([tmp_path / "in"])
    anew = list(collect.stage(storyboard, files, tmp_path, known).run(files))
    assert [item.position.stem for item in anew if isinstance(item, Record)] == ["b"]


def test_going_on_after_a_stop_still_knows_what_was_collected_before(tmp_path, draw, storyboard):
    save(draw(1), tmp_path / "in" / "a.png", tmp_path / "in" / "b.png")
    files = collect.find([tmp_path / "in"])
    known = list(collect.stage(storyboard, files, tmp_path, []).run(files[:1]))
    rest = list(collect.stage(storyboard, files, tmp_path, known).run(files[1:]))
    assert [item.reason for item in rest] == ["exact copy"]


def test_every_text_that_belongs_to_a_file_is_part_of_what_collect_depends_on(tmp_path, draw, storyboard):
    save(draw(1), tmp_path / "0001-1.png")
    seen = []
    for text in (None, "0001-1.txt", "0001.txt", "caption.txt"):
        if text:
            (tmp_path / text).write_text(JOINT)
        files = collect.find([tmp_path])
        seen.append(json.dumps(collect.stage(storyboard, files, tmp_path, []).config, default=str))
    assert len(set(seen)) == 4


# ---- texts


@pytest.mark.parametrize(
    ("texts", "pictures"),
    [
        ({"0001.txt": JOINT}, ("0001-1", "0001-2", "0001-3")),
        ({"0001.txt": JOINT, "0001 (1).txt": "her own text"}, ("0001 (1)", "0001 (2)", "0001 (3)")),
        ({"0001_1.txt": JOINT, "0001_2.txt": JOINT, "0001_3.txt": JOINT}, ("0001_1", "0001_2", "0001_3")),
        ({"1.txt": JOINT, "2.txt": JOINT, "3.txt": JOINT}, ("1", "2", "3")),
        ({"caption.txt": JOINT}, ("first", "second", "third")),
        ({"caption.txt": JOINT}, ("1", "2", "3")),
    ],
)
def test_a_joint_caption_makes_one_set_however_it_stands(texts, pictures, tmp_path, storyboard):
    for name, text in texts.items():
        (tmp_path / name).write_text(text + "\n")
    found = [text_of(tmp_path / f"{name}.png", storyboard) for name in pictures]
    assert {text.text for text in found} == {JOINT}
    assert len({text.set for text in found}) == 1 and found[0].set
    assert [text.page for text in found] in ([1, 2, 3], [0, 0, 0])


def test_numbers_that_run_on_over_two_captions_make_two_sets(tmp_path, storyboard):
    for number in range(1, 7):
        (tmp_path / f"film_{number:02d}.txt").write_text(JOINT if number < 4 else JOINT.replace("day", "week"))
    sets = [text_of(tmp_path / f"film_{number:02d}.png", storyboard).set for number in range(1, 7)]
    assert sets == [sets[0]] * 3 + [sets[3]] * 3 and sets[0] != sets[3]


def test_a_picture_s_own_text_makes_no_set(tmp_path, storyboard):
    (tmp_path / "a-1.txt").write_text("a  cat\non a mat ")
    (tmp_path / "caption.txt").write_text("pictures of cats")
    assert text_of(tmp_path / "a-1.png", storyboard).text == "a cat on a mat"
    assert [text_of(tmp_path / name, storyboard).set for name in ("a-1.png", "²-x.png", "²")] == ["", "", ""]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252"])
def test_a_text_is_read_in_any_usual_encoding(encoding, tmp_path, storyboard):
    said = "“Café” déjà vu" if encoding != "latin-1" else '"Café" déjà vu'
    (tmp_path / "a.txt").write_bytes(said.encode(encoding))
    assert text_of(tmp_path / "a.png", storyboard).text == said


# ---- ready-made grids


def joint(name: str) -> str:
    return " ".join(f"{marker} some words here" for marker in LAYOUTS[name].markers)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_picture_with_a_joint_caption_is_a_grid_or_a_panel_by_its_shape_or_its_siblings(name, tmp_path):
    layout = LAYOUTS[name].grid_layout
    for stem in ("grid", "other"):
        Image.new("L", layout.canvas).reduce(8).save(tmp_path / f"{stem}.png")
        (tmp_path / f"{stem}.txt").write_text(f"{stem} {joint(name)}")
    for panel in range(layout.size):
        Image.new("L", (layout.panel_width // 8, layout.panel_height // 8)).save(tmp_path / f"panel-{panel}.png")
        (tmp_path / f"panel-{panel}.txt").write_text(f"panels {joint(name)}")
    claimed = [path.stem for path in sorted(tmp_path.glob("*.png")) if grids.claims(path, LAYOUTS[name])]
    assert claimed == ["grid", "other"]


def test_a_picture_without_a_joint_caption_of_its_own_is_no_grid(tmp_path, draw, storyboard):
    save(draw(1, (400, 600)), tmp_path / "a.png", tmp_path / "b-1.png", tmp_path / "c.png")
    (tmp_path / "a.txt").write_text("a cat on a mat")
    (tmp_path / "b.txt").write_text(JOINT)
    assert not any(grids.claims(tmp_path / name, storyboard) for name in ("a.png", "b-1.png", "c.png"))


@pytest.mark.parametrize("name", ["storyboard", "font-design"])
def test_a_grid_of_the_task_s_own_canvas_comes_back_pixel_for_pixel(name, tmp_path, draw, gather):
    theme = LAYOUTS[name]
    layout = theme.grid_layout
    paths = [tmp_path / f"{panel}.png" for panel in range(layout.size)]
    for panel, path in enumerate(paths):
        draw(panel, (layout.panel_width // 2, layout.panel_height // 2)).save(path)
    canvas = compose.draw(paths, layout, "crop")
    save(canvas, tmp_path / "in" / "0001.png")
    (tmp_path / "in" / "0001.txt").write_text(joint(name))
    records, rejected = gather(tmp_path / "in", theme)
    assert (len(records), rejected, {record.text for record in records}) == (layout.size, [], {joint(name)})
    again = compose.draw([tmp_path / "run" / record.path for record in records], layout, "crop")
    assert again.tobytes() == canvas.tobytes()


@pytest.mark.parametrize("name", ["storyboard", "font-design", "portrait-illustration"])
def test_seams_are_found_within_a_pixel_though_they_are_up_to_five_off(name, tmp_path, draw):
    layout, rng = LAYOUTS[name].grid_layout, np.random.default_rng(1)
    width, height = (1080, 1363) if layout.cols == 1 else (1363, 1080)
    off = 0
    for trial in range(3):
        xs = [0, *(round(i * width / layout.cols + rng.integers(-5, 6)) for i in range(1, layout.cols)), width]
        ys = [0, *(round(i * height / layout.rows + rng.integers(-5, 6)) for i in range(1, layout.rows)), height]
        made = [(xs[c], ys[r], xs[c + 1], ys[r + 1]) for r in range(layout.rows) for c in range(layout.cols)]
        grid = Image.new("RGB", (width, height))
        for panel, (left, top, right, bottom) in enumerate(made):
            grid.paste(draw(20 * trial + panel, (right - left, bottom - top)), (left, top))
        grid.save(tmp_path / "grid.jpg", quality=90)
        boxes = grids.panel_boxes(pixels.open_image(tmp_path / "grid.jpg"), LAYOUTS[name])
        off = max(off, int(abs(np.array(boxes) - np.array(made)).max()))
    assert off <= 1


def test_where_no_seam_stands_out_a_grid_is_cut_into_equal_parts(storyboard):
    assert grids.panel_boxes(Image.new("RGB", (300, 900), "grey"), storyboard)[1] == (0, 300, 300, 600)


@pytest.mark.parametrize("size", [(1, 1), (4, 6000), (6000, 4), (30, 40)])
def test_a_grid_too_small_to_be_cut_is_rejected(size, tmp_path, draw, storyboard):
    save(draw(1, size), tmp_path / "a.png")
    (tmp_path / "a.txt").write_text(JOINT)
    assert [item.reason for item in grids.read(tmp_path / "a.png", storyboard, tmp_path)] == ["too small"]


# ---- films


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    return write_film(tmp_path_factory.mktemp("films") / "a.mp4", HELD_OUT_SEED + 301, shots=12, size=(384, 216))


def test_cuts_agree_with_the_truth_and_every_frame_lies_in_its_shot(film, gather):
    records, rejected = gather(film.parent)
    assert {row.reason for row in rejected} <= {"short shot"}
    told = json.loads(truth_path(film).read_text())
    hard = [shot["start"] for shot in told["shots"] if shot["transition"] == "cut"]
    starts = [shot.start for shot in video._shots(film)]
    found = sum(min(abs(cut - start) for start in starts) < 1.5 / told["fps"] for cut in hard)
    assert found >= 0.9 * len(hard) and len(hard) >= 9
    assert all(any(abs(start - shot["start"]) < 0.6 for shot in told["shots"]) for start in starts)
    own = [record.position for record in records]
    assert {at.film for at in own} == {"a.mp4"} and [at.shot for at in own] == sorted({at.shot for at in own})
    ends = [*starts[1:], told["shots"][-1]["end"]]
    assert all(starts[at.shot] < at.time < ends[at.shot] for at in own)
    assert all(abs(cut - at.time) >= video.EDGE - 1 / told["fps"] for cut in hard for at in own)


def test_a_film_gives_the_same_pictures_every_time(film, tmp_path, storyboard):
    first, second = (list(video.read(film, storyboard, tmp_path / run)) for run in "ab")
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
    """Shots of 24 frames, out of focus by a little but for one frame each."""
    for shot, best in enumerate(sharp):
        focused = np.asarray(draw(100 + shot, size))
        soft = cv2.GaussianBlur(focused, None, 1.2)
        for number in range(24):
            yield focused if number == best else soft


def test_the_one_sharp_frame_of_each_shot_is_chosen(tmp_path, draw, storyboard):
    sharp = [7, 12, 18, 9]
    encode(tmp_path / "a.mp4", blurred_shots(draw, sharp), size=(640, 360), fps=12)
    records = list(video.read(tmp_path / "a.mp4", storyboard, tmp_path))
    assert [round(record.position.time * 12) - 24 * n for n, record in enumerate(records)] == sharp


def test_a_film_is_decoded_once_and_few_frames_are_held(tmp_path, draw, storyboard, monkeypatch):
    encode(tmp_path / "a.mp4", blurred_shots(draw, [9, 9], (320, 180)), size=(320, 180), fps=12)
    opened, held = [], []
    real_open, real_take = av.open, video._Cutter.take
    monkeypatch.setattr(av, "open", lambda *a, **k: opened.append(a) or real_open(*a, **k))

    def take(self, frame):
        held.append(len(self.waiting))
        return real_take(self, frame)

    monkeypatch.setattr(video._Cutter, "take", take)
    list(video.read(tmp_path / "a.mp4", storyboard, tmp_path))
    assert (len(opened), len(held), max(held)) == (1, 48, video.WINDOW + round(video.EDGE * 12))


def write(path: Path, images: Iterable[np.ndarray], *, times: Iterable[int] | None = None, turn=0, wide=1) -> Path:
    """A film with its own display times in ms, lying on its side, or of pixels that are not square."""
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


def test_a_film_of_changing_rate_keeps_its_own_times(tmp_path, draw, storyboard):
    steps = [40] * 24 + [200] * 24 + [80] * 24
    stamps = [sum(steps[:n]) for n in range(72)]
    write(tmp_path / "a.mkv", blurred_shots(draw, [12, 12, 12], (320, 180)), times=stamps)
    times = [record.position.time for record in video.read(tmp_path / "a.mkv", storyboard, tmp_path)]
    assert times == pytest.approx([12 * 0.04, 24 * 0.04 + 12 * 0.2, 24 * 0.24 + 12 * 0.08], abs=0.01)


@pytest.mark.parametrize(("turn", "wide"), [(90, 1), (-90, 1), (180, 1), (0, Fraction(4, 3)), (90, Fraction(4, 3))])
def test_a_film_lying_on_its_side_or_of_odd_pixels_gives_upright_pictures(turn, wide, tmp_path, draw, storyboard):
    upright = draw(1, (240, 320))
    ImageDraw.Draw(upright).rectangle((0, 0, 60, 60), fill="red")
    stored = np.rot90(np.asarray(upright), -turn // 90)
    narrow = cv2.resize(stored, (int(stored.shape[1] / wide) // 2 * 2, stored.shape[0]), interpolation=cv2.INTER_AREA)
    write(tmp_path / "a.mp4", [narrow] * 14, turn=turn, wide=wide)
    (record,) = video.read(tmp_path / "a.mp4", storyboard, tmp_path)
    picture = pixels.open_image(tmp_path / record.path)
    assert picture.size == pytest.approx(upright.size, abs=2)
    difference = abs(np.asarray(picture.resize(upright.size), int) - np.asarray(upright, int))
    assert difference.mean() < 12


def test_what_is_no_film_is_one_rejected_row(tmp_path, gather, film):
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
    assert (records, len(rejected), {row.reason for row in rejected}) == ([], 6, {"unreadable"})
    told = {Path(row.what).name: row.detail for row in rejected}
    assert told["sound.mp4"].endswith("sound.mp4 is no whole film: it holds no pictures.")


def test_a_film_that_was_cut_off_is_kept_up_to_there_and_says_so(film, tmp_path, gather):
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
