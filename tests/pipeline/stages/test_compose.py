"""Grids: each panel resized on its own, nothing squeezed, the same pixels every time."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipeline import pixels
from pipeline.engines import local
from pipeline.records import Grid, Group, Layout, Position, Record, Rejected
from pipeline.stages import compose
from pipeline.store import Store

ONE = Layout(1, 1, 1024, 512)


def group(paths: list[Path]) -> Group:
    records = tuple(Record(path.name, str(path), str(path), Position(), width=1, height=1) for path in paths)
    return Group("s-test", "storyboard", records, "for a test", 1.0)


@pytest.fixture
def paths(tmp_path, draw) -> list[Path]:
    made = [tmp_path / f"{seed}.png" for seed in range(3)]
    for seed, path in enumerate(made):
        draw(seed).save(path)
    return made


def test_three_panels_of_1024_by_512_make_a_grid_of_1024_by_1536(paths, tmp_path, storyboard):
    (grid,) = compose.stage(storyboard, tmp_path / "run", 1, []).run([group(paths)])
    assert isinstance(grid, Grid) and grid.path == f"grids/{grid.id}.png"
    with Image.open(tmp_path / "run" / grid.path) as picture:
        assert (picture.size, picture.mode, dict(picture.getexif())) == ((1024, 1536), "RGB", {})
        panels = pixels.cut(picture, grid.layout)
    for panel, path in zip(panels, paths, strict=True):
        alone = compose.draw([path], ONE, "crop")
        assert panel.tobytes() == alone.tobytes()  # no panel bleeds across a seam


def test_running_again_writes_the_same_bytes(paths, tmp_path, storyboard):
    grids = [next(iter(compose.stage(storyboard, tmp_path / run, 1, []).run([group(paths)]))) for run in "ab"]
    assert grids[0] == grids[1]
    assert (tmp_path / "a" / grids[0].path).read_bytes() == (tmp_path / "b" / grids[1].path).read_bytes()


@pytest.mark.parametrize("size", [(1600, 900), (400, 400), (3000, 1000)])
@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_a_circle_in_the_middle_stays_a_circle_in_the_middle(size, fit, tmp_path):
    picture = Image.new("RGB", size, "white")
    (x, y), radius = (size[0] / 2, size[1] / 2), min(size) / 6
    ImageDraw.Draw(picture).ellipse((x - radius, y - radius, x + radius, y + radius), fill="red")
    picture.save(tmp_path / "a.png")
    panel = np.asarray(compose.draw([tmp_path / "a.png"], ONE, fit)).astype(int)
    ys, xs = np.nonzero((panel[..., 0] > 200) & (panel[..., 1] < 60))
    assert np.ptp(xs) == pytest.approx(np.ptp(ys), abs=2)
    assert ((xs.min() + xs.max()) / 2, (ys.min() + ys.max()) / 2) == pytest.approx((511.5, 255.5), abs=1)


def test_cropping_takes_the_same_from_both_sides_and_padding_takes_nothing(tmp_path):
    picture = Image.new("RGB", (1200, 1200), "white")
    for n in range(12):  # bands of 100 px in twelve greys
        ImageDraw.Draw(picture).rectangle((0, 100 * n, 1199, 100 * n + 99), fill=(20 * n, 20 * n, 20 * n))
    picture.save(tmp_path / "a.png")
    cropped = np.asarray(compose.draw([tmp_path / "a.png"], ONE, "crop"))[:, 512, 0]
    assert (cropped[2], cropped[-3]) == (60, 160)  # bands 3 to 8
    padded = np.asarray(compose.draw([tmp_path / "a.png"], ONE, "pad"))
    assert (padded[256, 100].tolist(), padded[256, -100].tolist()) == ([127] * 3, [127] * 3)
    assert (padded[2, 512, 0], padded[-3, 512, 0]) == (0, 220)


def test_a_sideways_image_is_rotated_before_it_is_cropped(tmp_path, draw):
    exif = Image.Exif()
    exif[pixels.ORIENTATION] = 6
    draw(1).save(tmp_path / "upright.png")
    draw(1).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "lying.png", exif=exif)
    upright, lying = (compose.draw([tmp_path / f"{name}.png"], ONE, "crop") for name in ("upright", "lying"))
    assert lying.tobytes() == upright.tobytes()


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize("size", [(1030, 1030), (1030, 1500), (2100, 1030), (2100, 2100)])
def test_decoding_a_jpeg_at_reduced_size_costs_no_quality(size, fit, tmp_path, draw, monkeypatch):
    rng = np.random.default_rng(1)
    grain = cv2.resize(rng.normal(0, 14, (size[1] // 2, size[0] // 2)), size)
    busy = np.clip(np.asarray(draw(1, size)) + grain[..., None], 0, 255).astype(np.uint8)
    Image.fromarray(busy).save(tmp_path / "a.jpg", quality=92)
    panel = Layout(1, 1, 256, 128)
    small = np.asarray(compose.draw([tmp_path / "a.jpg"], panel, fit))
    monkeypatch.setattr("PIL.JpegImagePlugin.JpegImageFile.draft", lambda *_: None)
    whole = np.asarray(compose.draw([tmp_path / "a.jpg"], panel, fit))
    assert small.tobytes() != whole.tobytes()  # it was decoded at reduced size
    details = [cv2.Laplacian(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var() for p in (small, whole)]
    assert cv2.PSNR(small, whole) > 48  # dB; at half the size it would be 34
    assert details[0] > 0.88 * details[1]


def test_a_missing_image_rejects_its_group_and_the_rest_is_drawn(paths, tmp_path, storyboard):
    gone = group([*paths[:2], tmp_path / "gone.png"])
    results = list(compose.stage(storyboard, tmp_path / "run", 1, []).run([gone, group(paths)]))
    assert [type(item) for item in results] == [Rejected, Grid]
    assert results[0].reason == "unreadable" and "gone.png" in results[0].detail


def test_a_kill_while_a_grid_is_written_leaves_no_partial_file(paths, tmp_path, storyboard, monkeypatch):
    def killed(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", killed)
        with pytest.raises(KeyboardInterrupt):
            list(compose.stage(storyboard, tmp_path / "run", 1, []).run([group(paths)]))
    assert not list((tmp_path / "run" / "grids").glob("*.png"))
    list(compose.stage(storyboard, tmp_path / "run", 1, []).run([group(paths)]))
    assert [path.suffix for path in (tmp_path / "run" / "grids").iterdir()] == [".png"]


def test_worker_processes_and_threads_draw_the_same_images_byte_for_byte(paths, tmp_path, storyboard):
    records = tuple(Record(path.name, str(path), str(path), Position(), width=1, height=1) for path in paths)
    groups = [Group(f"s{n}", "storyboard", records[n % 3 :] + records[: n % 3], "for a test", 1.0) for n in range(9)]
    drawn: dict[bool, list[Grid]] = {}
    for processes in (False, True):
        folder = tmp_path / str(processes)
        with Store(folder) as store:
            store.add("inspect", "records", records, [], 0)
            store.add("group", "groups", groups, [], 0)
            stage = compose.stage(storyboard, folder, 2, [])
            local.run(stage, groups, store, upstream="", progress=lambda *_: None, processes=processes)
            drawn[processes] = store.items(Grid, "grids")
    assert drawn[True] == drawn[False] and [grid.group for grid in drawn[True]] == groups
    for grid in drawn[True]:
        assert (tmp_path / "True" / grid.path).read_bytes() == (tmp_path / "False" / grid.path).read_bytes()


def test_the_stage_is_not_done_if_an_image_has_been_deleted(paths, tmp_path, storyboard):
    drawn = list(compose.stage(storyboard, tmp_path / "run", 1, []).run([group(paths)]))
    assert compose.stage(storyboard, tmp_path / "run", 1, drawn).intact()
    (tmp_path / "run" / drawn[0].path).unlink()
    assert not compose.stage(storyboard, tmp_path / "run", 1, drawn).intact()
