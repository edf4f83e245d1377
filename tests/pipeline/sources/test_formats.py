"""Which format a file has, by its first bytes."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miniature.film import encode
from pipeline.sources.base import HEAD
from pipeline.sources.formats import format_of


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_every_image_format_that_pillow_writes_is_recognised(form, tmp_path, draw):
    draw(1, (64, 48)).save(tmp_path / "a", form)
    recognised = format_of((tmp_path / "a").read_bytes()[:HEAD])
    assert recognised.kind == "picture" and form in recognised.name.upper()


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "avi", "mpg", "ts", "m2ts", "flv", "3gp", "mxf"])
def test_every_film_format_that_libav_writes_is_recognised(ending, tmp_path, draw):
    path = film(tmp_path / f"a.{ending}", draw)
    assert format_of(path.read_bytes()[:HEAD]).kind == "film"


def film(path: Path, draw) -> Path:
    """Remuxes a small film."""
    import av

    source = path.with_name("source.mp4")
    encode(source, iter([np.asarray(draw(1, (320, 180)))] * 12), size=(320, 180), fps=12)
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        codec = {"mpg": "mpeg2video", "mxf": "mpeg2video", "flv": "flv1"}.get(path.suffix[1:], "libx264")
        stream = new.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for frame in old.decode(video=0):
            new.mux(stream.encode(frame))
        new.mux(stream.encode())
    return path


def tiff(order: str, tag: int, value: int) -> bytes:
    """A TIFF's header and the first entry of its directory."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(f"{order}IHHHII", 8, 12, tag, 4, 1, value)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"", "of an unknown format"),
        (bytes(range(256)), "of an unknown format"),
        (b"BMW is a maker of cars.", "a text file"),
        (("\u00fc" * 300).encode()[: HEAD - 1], "a text file"),
        (b"\xff\xfeh\0i\0", "a text file"),
        (b"PK\x03\x04" + bytes(60), "a ZIP archive"),
        (b"%PDF-1.7", "a PDF"),
        (b"RIFF\0\0\0\0WAVEfmt ", "of an unknown format"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC picture"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "an AVIF picture"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1miafavif", "a HEIC picture"),  # beyond the box
        (b"\0\0\0\x18ftypisom\0\0\0\0isomavc1", "an MP4 or QuickTime film"),
        (tiff("<", 254, 0), "a TIFF picture"),
        (tiff("<", 254, 1), "a camera's raw picture"),
        (tiff(">", 254, 1), "a camera's raw picture"),
        (tiff("<", 256, 641), "a TIFF picture"),
        (b"II*\0\x10\0\0\0CR\x02\0", "a camera's raw picture"),
    ],
)
def test_magic_bytes_are_read_with_care(head, name):
    assert format_of(head).name == name


@given(st.binary(max_size=HEAD))
def test_any_bytes_have_a_format(head):
    assert format_of(head).kind in ("", "picture", "film", "document")
