"""Formats beyond the usual: read by content, bounded, or a sentence that says what to install."""

from __future__ import annotations

import importlib
import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401
import pytest
from PIL import Image
from rawfile import write_dng

from pipeline import pixels
from pipeline.errors import BadInput
from pipeline.pixels import formats, jxl, opening
from pipeline.sources.formats import format_of
from pipeline.stages import collect

Draw = Callable[..., Image.Image]

pillow_heif.register_heif_opener()


def written(picture: Image.Image, kind: str, path: Path) -> Path:
    if kind == "RAW":
        return write_dng(path, picture)
    if kind == "PSD":
        path.write_bytes(psd(picture))
        return path
    picture.save(path, kind)
    return path


def psd(picture: Image.Image, merged: int | None = None) -> bytes:
    """A Photoshop file with nothing but its merged picture, unless `merged` says that this is a stand-in."""
    width, height = picture.size
    resource = b"" if merged is None else b"8BIM" + struct.pack(">HHI", 1057, 0, 6) + struct.pack(">IBx", 1, merged)
    head = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, height, width, 8, 3)
    planes = b"".join(band.tobytes() for band in picture.split())
    return head + struct.pack(">I", 0) + struct.pack(">I", len(resource)) + resource + struct.pack(">IH", 0, 0) + planes


@pytest.mark.parametrize("kind", ["HEIF", "JXL", "RAW", "JPEG2000", "TGA", "DDS", "PSD", "PPM", "MPO"])
@pytest.mark.parametrize("ending", ["right", "jpg"])
def test_pictures_are_read_by_content_whatever_their_name(kind: str, ending: str, tmp_path: Path, draw: Draw) -> None:
    name = "a.tga" if kind == "TGA" else f"a.{ending}"  # has no mark
    path = written(draw(1, (640, 360)), kind, tmp_path / name)
    assert format_of(path.read_bytes()[:512], name).kind == "picture"
    opened = pixels.open_sized(path)
    assert pixels.upright_size(path) == opened.image.size == opened.size == (640, 360)
    assert np.abs(np.asarray(opened.image, int) - np.asarray(draw(1, (640, 360)), int)).mean() < 12


@pytest.mark.parametrize(("kind", "package"), [("HEIF", "pillow-heif"), ("JXL", "pillow-jxl-plugin"), ("RAW", "rawpy")])
def test_without_its_package_a_picture_is_one_row_that_names_it(  # noqa: PLR0913, PLR0917
    kind: str, package: str, tmp_path: Path, draw: Draw, gather, measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    written(draw(1), kind, tmp_path / "in" / "a.jpg")
    draw(2).save(tmp_path / "in" / "b.png")
    found = importlib.import_module

    def missing(name: str) -> object:
        if name == formats.PACKAGES[kind][2]:
            raise ImportError(name)
        return found(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    kept, (row,) = measure(gather(tmp_path / "in")[0])
    assert [record.position.stem for record in kept] == ["b"]
    assert row.detail == (
        f"{tmp_path}/in/a.jpg is {formats.PACKAGES[kind][0]}; reading it needs {package}, which is not installed: "
        "pip install 'iclora[pictures]', or convert it to PNG or JPEG."
    )


def test_installing_a_package_lets_a_run_read_what_it_could_not(
    storyboard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = collect.stage(storyboard, [], tmp_path, []).config
    monkeypatch.setitem(formats.PACKAGES, "HEIF", ("a HEIC picture", "pillow-heif", "nowhere_to_be_had"))
    assert collect.stage(storyboard, [], tmp_path, []).config != before


@pytest.mark.parametrize("orientation", [3, 6, 8])
@pytest.mark.parametrize("kind", ["HEIF", "JXL", "RAW", "AVIF"])
def test_the_size_of_a_turned_picture_is_that_of_its_pixels(
    kind: str, orientation: int, tmp_path: Path, draw: Draw
) -> None:
    upright, exif = draw(1, (400, 640)), Image.Exif()
    exif[pixels.ORIENTATION] = orientation
    back = {6: 8, 8: 6}.get(orientation, orientation)
    lying = upright.transpose(pixels.TURNS[back])
    if kind == "RAW":
        write_dng(tmp_path / "a", lying, orientation)
    elif kind == "JXL":  # a JPEG within, with the EXIF that it had; what is encoded anew has its own orientation
        lying.save(tmp_path / "a.jpg", exif=exif, quality=95)
        with Image.open(tmp_path / "a.jpg") as jpeg:
            jpeg.save(tmp_path / "a", "JXL", lossless_jpeg=True)
    elif kind == "HEIF":  # writes a rotation for what it has been told with the picture
        lying.info["exif"] = exif.tobytes()
        lying.save(tmp_path / "a", kind)
    else:
        lying.save(tmp_path / "a", kind, exif=exif)
    opened = pixels.open_sized(tmp_path / "a")
    assert pixels.upright_size(tmp_path / "a") == opened.image.size == opened.size == (400, 640)
    assert np.abs(np.asarray(opened.image, int) - np.asarray(upright, int)).mean() < 12


def test_a_raw_picture_may_be_developed_at_half_its_size(tmp_path: Path, draw: Draw) -> None:
    path = write_dng(tmp_path / "a.dng", draw(1, (640, 360)))
    assert pixels.open_image(path, least_side=180).size == (320, 180)
    assert pixels.open_image(path, least_side=181).size == (640, 360)


def test_a_photoshop_file_without_its_merged_picture_says_how_to_save_it(tmp_path: Path, draw: Draw) -> None:
    (tmp_path / "a.psd").write_bytes(psd(draw(1, (64, 48)), merged=0))
    with pytest.raises(BadInput, match="it has layers only; save it with 'Maximize Compatibility'"):
        pixels.open_image(tmp_path / "a.psd")
    (tmp_path / "b.psd").write_bytes(psd(draw(1, (64, 48)), merged=1))
    assert pixels.open_image(tmp_path / "b.psd").size == (64, 48)


@pytest.mark.parametrize("kind", ["HEIF", "JXL", "RAW", "JPEG2000", "AVIF", "WEBP"])
def test_each_decoder_has_its_limit_and_names_it(
    kind: str, tmp_path: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(draw(1, (100, 90)), kind, tmp_path / "a")
    monkeypatch.setitem(opening.MOST_OF_FORMAT, kind, 8_999)
    for open_it in (pixels.open_image, pixels.upright_size):
        with pytest.raises(BadInput, match=r"it has 100 x 90 pixels, more than 8,999\.$"):
            open_it(path)


def test_formats_that_are_decoded_in_python_are_small_ones(tmp_path: Path) -> None:
    for name, head in {
        "a.dds": dds(4_000, 4_000),
        "a.ppm": b"P6 4000 4000 1023\n",
    }.items():
        (tmp_path / name).write_bytes(head + bytes(1_000))
        with pytest.raises(BadInput, match=r"it has 4000 x 4000 pixels, more than 4,200,000\.$"):
            pixels.open_image(tmp_path / name)


def dds(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGBA", (4, 4)).save(buffer, "DDS")
    return buffer.getvalue()[:12] + struct.pack("<II", height, width) + buffer.getvalue()[20:128]


@pytest.mark.parametrize("size", [(1, 1), (64, 48), (640, 360), (1000, 1000), (300, 7), (4097, 3)])
@pytest.mark.parametrize("container", [False, True])
def test_the_header_of_jpeg_xl_tells_the_size_before_anything_is_decoded(
    size: tuple[int, int], container: bool, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[pixels.ORIENTATION] = 1
    picture = Image.new("RGBA", size, (1, 2, 3, 4))
    picture.save(tmp_path / "a.jxl", effort=1, use_container=container, exif=exif.tobytes() if container else None)
    with (tmp_path / "a.jxl").open("rb") as file:
        jxl.check(file, size[0] * size[1])
        with pytest.raises(ValueError, match=f"it has {size[0]} x {size[1]} pixels, more than"):
            jxl.check(file, size[0] * size[1] - 1)


def test_a_jpeg_xl_of_many_channels_is_refused() -> None:
    bits = [(0x0AFF, 16), (1, 1), (7, 5), (1, 3), (0, 1), (0, 1), (0, 1), (0, 2), (1, 1), (3, 2), (999, 12)]
    value, length = 0, 0
    for number, count in bits:
        value, length = value | number << length, length + count
    with pytest.raises(ValueError, match="it has 1,000 channels besides its colours"):
        jxl.check(io.BytesIO(value.to_bytes(64, "little")), 1 << 20)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "a camera's raw picture"),
        (b"FUJIFILMCCD-RAW 0201", "a camera's raw picture"),
        (b"IIRO\x08\0\0\0", "a camera's raw picture"),
        (b"IIU\0\x18\0\0\0", "a camera's raw picture"),
        (b"\xff\x0a" + bytes(30), "a JPEG XL picture"),
        (b"\xff\x4f\xff\x51" + bytes(30), "a JPEG 2000 picture"),
        (b"8BPS\0\1", "a Photoshop picture"),
        (b"8BPS\0\2", "a large Photoshop picture (PSB)"),
        (b"P5\n64 48\n255\n", "a PNM picture"),
        (b"P5 is a road", "a PNM picture"),
        (b"P500 is a car", "a text file"),
        (b"\x76\x2f\x31\x01" + bytes(20), "an OpenEXR picture"),
        (b"qoif" + bytes(10), "a QOI picture"),
    ],
)
def test_formats_are_named(head: bytes, name: str) -> None:
    assert format_of(head).name == name


def test_what_could_be_a_tga_is_one_only_by_its_name(tmp_path: Path, draw: Draw) -> None:
    buffer = io.BytesIO()
    draw(1, (64, 48)).save(buffer, "TGA", compression="tga_rle")
    assert format_of(buffer.getvalue(), "a.TGA").name == "a TGA picture"
    assert format_of(buffer.getvalue(), "a.bin").kind == ""
    assert format_of(b"notes on a trip to the sea", "a.tga").name == "a text file"
