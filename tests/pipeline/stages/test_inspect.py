"""Images as they come: broken, rotated, deep, transparent, huge. Each is a record or one rejected row."""

from __future__ import annotations

import pickle
import struct
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image

from pipeline import pixels
from pipeline.errors import BadInput
from pipeline.records import Record
from pipeline.stages import inspect
from pipeline.task import LayoutSection

# pytest resets the warning filters for each test, so the one in pixels.py is gone here; a test below runs without it.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")

LYING = Image.Exif()
LYING[pixels.ORIENTATION] = 6


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes whose header declares so many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def hostile(folder: Path, draw: Callable[..., Image.Image]) -> tuple[set[str], dict[str, str]]:
    """Writes the corpus; returns the names of what must be kept, and the reasons by name for what must not."""
    folder.mkdir()
    picture, jpeg = draw(1), folder / "upright.jpg"
    picture.save(jpeg, quality=95)
    whole = jpeg.read_bytes()
    (folder / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "nearly.jpg").write_bytes(whole[:-20])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "page.jpg").write_text("<!doctype html><title>404</title>")
    (folder / "bomb.png").write_bytes(bomb(30_000, 30_000))
    (folder / "big.png").write_bytes(bomb(13_000, 10_000))
    (folder / "postscript.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 640 360\n")
    (folder / "notes.docx").write_bytes(b"PK")
    (folder / "nowhere.png").symlink_to(folder / "gone.png")
    (folder / "itself.png").symlink_to(folder / "itself.png")
    draw(2, (1, 1)).save(folder / "dot.png")
    draw(2, (6000, 4)).save(folder / "line.png")
    draw(2, (500, 700)).save(folder / "upright shape.png")
    broken = {
        **dict.fromkeys(("half.jpg", "nearly.jpg", "empty.jpg", "bomb.png", "big.png"), "unreadable"),
        **dict.fromkeys(("nowhere.png", "itself.png"), "unreadable"),
        **dict.fromkeys(("page.jpg", "postscript.jpg", "notes.docx"), "unsupported"),
        "dot.png": "too small",
        "line.png": "too small",
        "upright shape.png": "shape",
    }
    picture.transpose(Image.Transpose.ROTATE_90).save(folder / "lying.jpg", exif=LYING, quality=95)
    draw(3).convert("CMYK").save(folder / "print.jpg")
    draw(4).save(folder / "really a png.JPG", "PNG")
    draw(5).save(folder / "ünï 🎬.png")
    draw(6).convert("P").save(folder / "palette.png", transparency=3)
    draw(7).convert("L").save(folder / "grey.png", transparency=0)
    draw(8).save(folder / "moving.gif", save_all=True, append_images=[draw(9)])
    draw(10).save(folder / "moving.webp", save_all=True, append_images=[draw(11)], lossless=True)
    draw(12).save(folder / "odd exif.jpg", exif=b"Exif\x00\x00II*\x00" + bytes(range(40)))
    draw(13).save(folder / "odd exif.tif", tiffinfo={65000: "x" * 10})
    draw(14).convert("1").save(folder / "bits.png")
    draw(15).save(folder / "screen.BMP")
    return {path.name for path in folder.iterdir()} - broken.keys(), broken


def test_every_hostile_image_is_a_record_or_one_row_with_its_reason(tmp_path, draw, gather, measure):
    good, bad = hostile(tmp_path / "in", draw)
    records, rows = gather(tmp_path / "in")
    kept, more = measure(records)
    assert {Path(record.source).name for record in kept} == good
    assert {Path(row.what).name: row.reason for row in rows + more} == bad
    assert all(Path(row.what).name in row.detail and row.detail.endswith(".") for row in rows + more)
    limits = [row.detail for row in more if row.reason in ("too small", "shape")]
    assert len(limits) == 3 and all("(limit layout.max_" in detail for detail in limits)


def test_warnings_of_pillow_do_not_escape_with_threads_either(tmp_path, draw):
    Image.new("L", (14_000, 6_800), 90).save(tmp_path / "95 megapixels.jpg")
    draw(1).save(tmp_path / "odd exif.jpg", exif=b"Exif\x00\x00II*\x00" + bytes(range(40)))
    script = f"""
        from concurrent.futures import ThreadPoolExecutor
        from pathlib import Path
        from pipeline import pixels
        paths = sorted(Path({str(tmp_path)!r}).iterdir()) * 4
        with ThreadPoolExecutor(4) as pool:
            print(len(list(pool.map(lambda path: pixels.open_image(path, least_side=512), paths))))
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("8\n", "", 0)


def test_inspect_gives_the_same_result_in_another_process(tmp_path, draw, gather, storyboard):
    for seed in range(3):
        (tmp_path / "in").mkdir(exist_ok=True)
        draw(seed).save(tmp_path / "in" / f"{seed}.png")
    records, _ = gather(tmp_path / "in")
    run = inspect.stage(storyboard, tmp_path / "run", 1).run
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        assert pool.submit(whole, pickle.dumps(run), records).result() == list(run(records))


def whole(run: bytes, batch: list[Record]) -> list[object]:
    return list(pickle.loads(run)(batch))


def measured(path: Path, measure: Callable[..., tuple[list[Record], list]], record: Record) -> Record:
    kept, rejected = measure([replace(record, path=str(path), source=str(path))])
    assert not rejected, rejected
    return kept[0]


@pytest.fixture
def look(measure, tmp_path, draw, gather) -> Callable[[Path], Record]:
    (tmp_path / "one").mkdir()
    draw(0).save(tmp_path / "one" / "a.png")
    record = gather(tmp_path / "one")[0][0]
    return lambda path: measured(path, measure, record)


def bits(one: Record, other: Record) -> int:
    """By how many of 64 bits the hashes differ."""
    return imagehash.hex_to_hash(one.phash) - imagehash.hex_to_hash(other.phash)


def alike(one: Record, other: Record) -> float:
    a, b = (np.frombuffer(bytes.fromhex(record.histogram), np.uint8).astype(float) for record in (one, other))
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_rotated_image_measures_like_its_upright_copy(orientation, tmp_path, draw, look):
    back = {6: 8, 8: 6}.get(orientation, orientation)  # two quarter turns that cancel out
    exif = Image.Exif()
    exif[pixels.ORIENTATION] = orientation
    draw(1).save(tmp_path / "upright.png")
    draw(1).transpose(pixels.TURNS[back]).save(tmp_path / "turned.png", exif=exif)
    assert replace(look(tmp_path / "turned.png"), path="", source="") == replace(
        look(tmp_path / "upright.png"), path="", source=""
    )
    assert pixels.upright_size(tmp_path / "turned.png") == (640, 360)


def test_sixteen_bits_of_grey_are_scaled_and_not_clipped(tmp_path, draw, look):
    grey = np.asarray(draw(1).convert("L"))
    Image.fromarray(grey).save(tmp_path / "8.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.tif")
    Image.fromarray(grey.astype(np.float32) / 255).save(tmp_path / "float.tif")
    deep = [pixels.open_image(tmp_path / name) for name in ("16.png", "16.tif", "float.tif")]
    plain = np.asarray(pixels.open_image(tmp_path / "8.png"), int)
    assert max(abs(np.asarray(image, int) - plain).max() for image in deep) <= 1
    assert bits(look(tmp_path / "16.png"), look(tmp_path / "8.png")) == 0


def test_hidden_transparent_pixels_are_white_and_not_a_copy_of_the_opaque_image(tmp_path, draw, look):
    picture, mask = draw(1), Image.new("L", (640, 360), 0)
    mask.paste(255, (200, 80, 440, 280))
    picture.save(tmp_path / "open.png")
    hidden = picture.copy()
    hidden.putalpha(mask)
    hidden.save(tmp_path / "hidden.png")
    flat = pixels.open_image(tmp_path / "hidden.png")
    assert flat.getpixel((0, 0)) == (255, 255, 255)
    assert flat.getpixel((300, 200)) == picture.getpixel((300, 200))
    assert bits(look(tmp_path / "hidden.png"), look(tmp_path / "open.png")) > 6


@pytest.mark.parametrize("mode", ["P", "L", "LA", "RGB", "1", "I;16"])
def test_transparency_of_every_kind_becomes_white(mode, tmp_path):
    file = tmp_path / "a.png"
    if mode == "P":
        image = Image.new("P", (8, 8), 1)
        image.putpalette([0, 0, 0, 10, 20, 30])
        image.save(file, transparency=1)
    elif mode == "LA":
        Image.new("LA", (8, 8), (10, 0)).save(file)
    else:
        colour = (10, 20, 30) if mode == "RGB" else 1 if mode == "1" else 90
        Image.new(mode, (8, 8), colour).save(file, transparency=255 if mode == "1" else colour)
    assert pixels.open_image(file).getpixel((4, 4)) == (255, 255, 255)


def test_the_first_frame_of_an_animation_counts(tmp_path, draw):
    for name, options in (("a.gif", {}), ("a.webp", {"lossless": True}), ("a.tif", {})):
        draw(1).save(tmp_path / name, save_all=True, append_images=[draw(2), draw(3)], **options)
        first = np.asarray(pixels.open_image(tmp_path / name), int)
        assert abs(first - np.asarray(draw(1), int)).mean() < 12  # GIF has 256 colours


def test_decoding_at_reduced_size_measures_nearly_the_same(tmp_path, draw, look, monkeypatch):
    draw(1, (3000, 2000)).save(tmp_path / "a.jpg", quality=92)
    small = look(tmp_path / "a.jpg")
    monkeypatch.setattr("PIL.JpegImagePlugin.JpegImageFile.draft", lambda *_: None)
    whole = look(tmp_path / "a.jpg")
    assert (small.width, small.height) == (3000, 2000)
    assert bits(small, whole) <= 2
    assert alike(small, whole) > 0.98
    assert small.sharpness == pytest.approx(whole.sharpness, rel=0.15)


def test_each_image_is_decoded_once(tmp_path, draw, look, monkeypatch):
    names = ("a.png", "a.jpg", "a.webp", "a.gif", "a.tif")
    for name in names:
        draw(1).save(tmp_path / name)
    read: list[str] = []
    opened = Image.open
    monkeypatch.setattr(Image, "open", lambda file, **options: read.append(file.name) or opened(file, **options))
    for name in names:
        look(tmp_path / name)
    assert [Path(name).name for name in read] == list(names)


def test_the_size_of_a_png_is_read_without_decoding_it(tmp_path, draw, monkeypatch):
    draw(1).save(tmp_path / "a.png")
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("decoded"))
    assert pixels.upright_size(tmp_path / "a.png") == (640, 360)


@pytest.mark.parametrize("junk", [struct.error("odd"), KeyError(3), MemoryError(), RecursionError("deep")])
def test_whatever_a_decoder_raises_costs_only_that_image(junk, tmp_path, draw, monkeypatch):
    draw(1).save(tmp_path / "a.png")

    def fail(_: Image.Image) -> None:
        raise junk

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(BadInput, match=r"a\.png can't be read as a picture: ."):
        pixels.open_image(tmp_path / "a.png")


def test_sharpness_and_exposure_and_colours_measure_what_they_are_named_after(tmp_path, draw, look):
    for name, picture in {
        "sharp": draw(1),
        "soft": draw(1).resize((40, 23)).resize((640, 360)),
        "dark": draw(1).point(lambda value: value // 4),
        "other": draw(2),
    }.items():
        picture.save(tmp_path / f"{name}.png")
    sharp, soft, dark, other = (look(tmp_path / f"{name}.png") for name in ("sharp", "soft", "dark", "other"))
    assert sharp.sharpness > 3 * soft.sharpness
    assert dark.exposure == pytest.approx(sharp.exposure / 4, abs=0.02)
    assert 0.95 < alike(sharp, soft) <= 1
    assert alike(sharp, soft) > alike(sharp, other)


def test_an_aspect_ratio_that_would_lose_too_much_is_rejected_unless_padded(
    tmp_path, draw, gather, measure, storyboard
):
    (tmp_path / "in").mkdir()
    draw(1, (600, 400)).save(tmp_path / "in" / "wide.png")
    draw(2, (400, 600)).save(tmp_path / "in" / "tall.png")
    records, _ = gather(tmp_path / "in")
    kept, rejected = measure(records)
    assert ([Path(r.source).stem for r in kept], [r.reason for r in rejected]) == (["wide"], ["shape"])
    assert "lose 67%" in rejected[0].detail
    assert rejected[0].detail.endswith(
        f"(limit layout.max_crop={storyboard.layout.max_crop:g}; layout.fit=pad loses nothing)."
    )
    padded = storyboard.model_copy(update={"layout": LayoutSection(**storyboard.layout.model_dump() | {"fit": "pad"})})
    assert len(measure(records, padded)[0]) == 2


def test_pictures_without_content_are_rejected_as_blank(tmp_path, draw, gather, measure):
    (tmp_path / "in").mkdir()
    night = draw(1).point(lambda value: value // 20)
    night.save(tmp_path / "in" / "night.png")
    Image.new("RGB", (640, 360), (2, 2, 2)).save(tmp_path / "in" / "cap on.png")
    Image.new("RGB", (640, 360), "white").save(tmp_path / "in" / "page.png")
    Image.linear_gradient("L").resize((640, 360)).save(tmp_path / "in" / "gradient.png")
    records, _ = gather(tmp_path / "in")
    kept, rejected = measure(records)
    assert [Path(record.source).name for record in kept] == ["night.png"]
    assert {Path(row.what).name: row.reason for row in rejected} == dict.fromkeys(
        ("cap on.png", "page.png", "gradient.png"), "blank"
    )
    assert sorted(row.detail.rpartition("shows nothing: ")[2] for row in rejected) == [
        "it is black.",
        "it is one even ground.",
        "it is white.",
    ]
