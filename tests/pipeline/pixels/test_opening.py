"""Pictures that strangers made: which way up they are, and files that keep a decoder busy or fill the memory."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401
import pytest
from PIL import Image

from pipeline import pixels
from pipeline.errors import BadInput
from pipeline.pixels import guards

pillow_heif.register_heif_opener()

Draw = Callable[..., Image.Image]

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # pixels.py ignores them; pytest resets that


def chunk(kind: bytes, content: bytes) -> bytes:
    """Of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(picture: Image.Image, before: bytes = b"", behind: bytes = b"") -> bytes:
    """A PNG with more chunks before its pixels or behind them."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    content = buffer.getvalue()
    start, end = content.index(b"IDAT") - 4, content.index(b"IEND") - 4
    return content[:start] + before + content[start:end] + behind + content[end:]


def refused(path: Path, content: bytes) -> str:
    """The sentence for a picture that can't be read; it is the same for its size and for its pixels."""
    path.write_bytes(content)
    messages = set()
    for opening in (pixels.open_image, pixels.upright_size):
        with pytest.raises(BadInput) as caught:
            opening(path)
        messages.add(str(caught.value))
    (message,) = messages
    assert message.startswith(f"{path} ") and message.endswith(".") and "\n" not in message and " at 0x" not in message
    return message


# ---- which way up


def lying(picture: Image.Image) -> tuple[Image.Image, Image.Exif]:
    exif = Image.Exif()
    exif[pixels.ORIENTATION] = 6
    return picture.transpose(Image.Transpose.ROTATE_90), exif


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "WEBP", "AVIF", "MPO", "PNG"])
def test_the_size_of_a_lying_picture_is_the_one_that_it_has_upright(kind: str, tmp_path: Path, draw: Draw) -> None:
    file, upright = tmp_path / "a", draw(1, (400, 640))
    picture, exif = lying(upright)
    more = {"save_all": True, "append_images": [picture]} if kind == "MPO" else {}
    picture.save(file, kind, exif=exif, **more)
    opened = pixels.open_sized(file)
    assert pixels.upright_size(file) == opened.image.size == opened.size == (400, 640)
    assert abs(np.asarray(opened.image, int) - np.asarray(upright, int)).mean() < 12


def test_what_stands_behind_the_pixels_of_a_png_counts_too(tmp_path: Path, draw: Draw) -> None:
    picture, exif = lying(draw(1, (400, 640)))
    behind = {
        "eXIf": chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")),
        "XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
    }
    for name, metadata in behind.items():
        for late in (False, True):
            file = tmp_path / f"{name} {late}.png"
            file.write_bytes(png(picture, **{"behind" if late else "before": metadata}))
            assert pixels.upright_size(file) == pixels.open_image(file).size == (400, 640), file


def test_a_tiff_whose_xmp_alone_says_how_it_lies_has_one_size(tmp_path: Path, draw: Draw) -> None:
    picture, _ = lying(draw(1, (400, 640)))
    picture.save(tmp_path / "a.tif", tiffinfo={700: XMP})
    opened = pixels.open_sized(tmp_path / "a.tif")
    assert pixels.upright_size(tmp_path / "a.tif") == opened.image.size == opened.size


# ---- what is no picture's file


def test_only_a_regular_file_is_a_picture(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "endless.png").symlink_to("/dev/zero")
    for name in ("pipe.png", "endless.png"):
        for opening in (pixels.open_image, pixels.upright_size):
            with pytest.raises(BadInput, match=f"{name} can't be read as a picture: it is not a regular file"):
                opening(tmp_path / name)


def test_a_file_of_more_bytes_than_a_picture_has_is_not_read(tmp_path: Path, draw: Draw) -> None:
    draw(1).save(tmp_path / "a.png")
    with (tmp_path / "a.png").open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(BadInput, match=r"it has 1,099,511,627,776 bytes, more than 536,870,912\.$"):
        pixels.open_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    "content",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 640 360\n%%EndComments\n",
        b"%PDF-1.4\n",
        b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        b"\xd7\xcd\xc6\x9a" + bytes(200),  # a Windows metafile
    ],
    ids=["EPS", "PDF", "SVG", "WMF"],
)
def test_no_program_is_started_to_read_a_picture(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("started a program"))
    assert "cannot identify image file" in refused(tmp_path / "a.png", content)


# ---- bombs


def test_text_in_a_png_may_be_a_whole_workflow_but_no_bomb(tmp_path: Path, draw: Draw) -> None:
    for size, kept in ((2 << 20, True), (100 << 20, False)):
        content = png(draw(1, (64, 48)), chunk(b"zTXt", b"workflow\0\0" + zlib.compress(bytes(size), 9)))
        if kept:
            (tmp_path / "a.png").write_bytes(content)
            assert pixels.open_image(tmp_path / "a.png").size == (64, 48)
        else:
            assert "it holds more text than a picture needs; save it anew" in refused(tmp_path / "a.png", content)


def test_a_colour_profile_that_unpacks_to_gigabytes_is_refused(tmp_path: Path, draw: Draw) -> None:
    profile = zlib.compressobj(9)
    packed = b"".join(profile.compress(bytes(1 << 20)) for _ in range(256)) + profile.flush()
    content = png(draw(1, (64, 48)), chunk(b"iCCP", b"icc\0\0" + packed))
    assert "it holds more text than a picture needs" in refused(tmp_path / "a.png", content)


def test_a_picture_in_nothing_but_pieces_is_refused(
    tmp_path: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "MOST_READS", 5_000)
    content = png(draw(1, (64, 48)), chunk(b"aBCd", b"") * 3_000)
    assert "it is in more than 5,000 pieces" in refused(tmp_path / "a.png", content)


def test_megabytes_before_the_pixels_are_refused(tmp_path: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "MOST_BESIDE", 1 << 20)
    buffer = io.BytesIO()
    draw(1, (64, 48)).save(buffer, "JPEG")
    segment = b"\xff\xe1\xff\xffExif\0\0" + bytes(65_527)
    content = buffer.getvalue()[:2] + segment * 20 + buffer.getvalue()[2:]
    assert "it has more than 1,048,576 bytes before its pixels" in refused(tmp_path / "a.jpg", content)


def test_a_jpeg_of_thousands_of_scans_is_refused(tmp_path: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes a pass over all pixels: a few megabytes of them take hours."""
    draw(1).save(tmp_path / "a.jpg", progressive=True)
    content = (tmp_path / "a.jpg").read_bytes()
    last = content.rindex(b"\xff\xda")
    (tmp_path / "a.jpg").write_bytes(content[:last] + content[last:-2] * 1_000 + content[-2:])
    with pytest.raises(BadInput, match=r"it has 1,0\d\d scans, more than 1,000"):
        pixels.open_image(tmp_path / "a.jpg")
    monkeypatch.setattr(guards, "MOST_SCANS", 10)
    (tmp_path / "a.jpg").write_bytes(content)
    assert pixels.open_image(tmp_path / "a.jpg").size == (640, 360)


@pytest.mark.parametrize(("order", "mark"), [("<", b"II*\0"), (">", b"MM\0*"), ("<", b"II+\0"), (">", b"MM\0+")])
def test_a_tiff_in_millions_of_strips_is_refused(order: str, mark: bytes, tmp_path: Path) -> None:
    big = b"+" in mark
    head = struct.pack(f"{order}HHQ", 8, 0, 16) if big else struct.pack(f"{order}I", 8)
    strips = struct.pack(f"{order}HHQQ" if big else f"{order}HHII", 273, 4, 2_000_000, 200)
    content = mark + head + struct.pack(f"{order}Q" if big else f"{order}H", 1) + strips
    assert "it is in 2,000,000 strips, more than 1,048,576" in refused(tmp_path / "a.tif", content + bytes(500))


def test_broken_tiffs_print_nothing(tmp_path: Path, draw: Draw) -> None:
    """libtiff has its own way to the terminal, through the middle of the progress bars."""
    for number, compression in enumerate(("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")):
        draw(number).save(tmp_path / f"{number}.tif", compression=compression)
        content = bytearray((tmp_path / f"{number}.tif").read_bytes())
        content[100:6_000:7] = bytes(len(content[100:6_000:7]))
        (tmp_path / f"{number}.tif").write_bytes(content)
    script = f"""
        from pathlib import Path
        from pipeline import pixels
        from pipeline.errors import BadInput
        for path in sorted(Path({str(tmp_path)!r}).iterdir()):
            try:
                pixels.open_image(path)
            except BadInput as error:
                print(path.name)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    assert done.stdout and done.stderr == ""


PEAK = """
    import sys
    from pathlib import Path
    from pipeline import pixels
    from pipeline.errors import BadInput
    try:
        print(pixels.open_image(Path(sys.argv[1])).size)
    except BadInput as error:
        print(error)
    (peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
    print(int(peak) * 1024)  # not `ru_maxrss`, which a process inherits
"""


def peak_of(path: Path) -> int:
    """Bytes that a process has at most while it opens a picture."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PEAK), str(path)], capture_output=True, text=True, check=True
    )
    return int(done.stdout.splitlines()[-1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says it")
@pytest.mark.slow  # writing a picture of 118 megapixels takes its time
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "GIF", "JXL", "HEIF", "JPEG2000"])
def test_the_largest_pictures_take_less_than_two_gigabytes(kind: str, tmp_path: Path) -> None:
    mode = "P" if kind == "GIF" else "RGBA"
    sizes = {"WEBP": (8_900, 8_950), "JXL": (9_990, 10_000), "HEIF": (9_990, 10_000), "JPEG2000": (7_740, 7_740)}
    size = sizes.get(kind, (10_800, 10_900))
    picture = Image.new(mode, size, 1 if kind == "GIF" else (10, 20, 30, 40))
    exif = Image.Exif()
    exif[pixels.ORIENTATION] = 6
    more = {
        "PNG": {"compress_level": 1, "exif": exif},
        "WEBP": {"lossless": True, "method": 0, "exif": exif},
        "TIFF": {"exif": exif},
        "GIF": {"transparency": 1},
        "JXL": {"effort": 1},
        "HEIF": {"enc_params": {"preset": "ultrafast"}},
    }
    picture.save(tmp_path / "a", kind, **more.get(kind, {}))
    assert peak_of(tmp_path / "a") < 2_000_000_000
