"""Opens and fits pictures, and cuts grids into panels."""

from __future__ import annotations

import ctypes
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, cast

from PIL import Image, ImageFile, ImageOps, PngImagePlugin, _imaging

from pipeline import files
from pipeline.errors import BadInput
from pipeline.records import Layout

MOST_PIXELS = 120_000_000
"""Larger pictures are refused before decoding: Pillow takes 480 MB for 120 megapixels as RGB."""
MOST_OF_FORMAT = {"WEBP": 80_000_000, "AVIF": 80_000_000}
"""Their decoders hold the picture four times."""
MOST_BYTES = 1 << 29
"""Larger files are no pictures of MOST_PIXELS, and some formats are read into memory whole."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "AVIF")
"""Detected by content, not by name; some of Pillow's other formats start programs (EPS runs Ghostscript)."""

LANCZOS = Image.Resampling.LANCZOS
BAR = (127, 127, 127)
"""Colour of padding: mid grey, which is 0 in the range -1..1 that image models see."""

ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The operation that makes a picture with this EXIF orientation upright."""
SIDEWAYS = (5, 6, 7, 8)
"""Orientations that swap width and height."""

MOST_BESIDE = 1 << 26
"""Bytes before the pixels that are read; Pillow takes quadratic time to join the segments of a JPEG's EXIF."""
MOST_READS = 5_000_000
"""Pieces that a file is read in: a PNG of 120 megapixels has some 100,000, one that is all empty chunks 40 million."""
MOST_SCANS = 1_000
"""Of a progressive JPEG, each of which takes a pass over all pixels; usual are 10."""
MOST_STRIPS = 1 << 20
"""Of a TIFF; Pillow makes several objects for each."""
STRIPS = (273, 324)
"""TIFF's tags for the places of strips and tiles."""
ROWS = 512
"""Rows of a transparent picture that are laid on white at once."""

# Pillow warns about large pictures, odd EXIF and odd palettes; all are handled here. Set once, since switching warnings
# off and on around each picture is not thread-safe.
warnings.filterwarnings("ignore", module=r"PIL\.")
PngImagePlugin.MAX_TEXT_CHUNK = 1 << 24  # 1 MiB refuses pictures into which a program has written its whole workflow
with suppress(AttributeError, OSError):  # libtiff prints to stderr; where Pillow has it built in, it can't be silenced
    _libtiff = ctypes.CDLL(_imaging.__file__)
    for _handler in (_libtiff.TIFFSetErrorHandler, _libtiff.TIFFSetWarningHandler):
        _handler.argtypes, _handler.restype = [ctypes.c_void_p], ctypes.c_void_p
        _handler(None)


def open_image(path: Path, *, least_side: int | None = None) -> Image.Image:
    """Opens a picture as RGB: EXIF orientation applied, transparency on white, first frame of an animation.

    Args:
        least_side: JPEGs may be decoded at a reduced size as long as the short side keeps this many pixels, which is
            several times faster (libjpeg scales by 1/2, 1/4 or 1/8 while decoding).

    Raises:
        BadInput: the file is not a picture, is truncated, or has more than MOST_PIXELS; the message says which.
    """
    return open_sized(path, least_side=least_side)[0]


def open_sized(path: Path, *, least_side: int | None = None) -> tuple[Image.Image, tuple[int, int]]:
    """Like `open_image`, with the width and height of the upright picture at full size."""
    picture, orientation, size = _decoded(path, least_side)
    return picture.transpose(TURNS[orientation]) if orientation in TURNS else picture, size


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels after orientation; of nearly all pictures from the header alone.

    Raises:
        BadInput: the file is not a picture.
    """
    with _opened(path) as image:
        return _upright_size(image)


def _decoded(path: Path, least_side: int | None) -> tuple[Image.Image, int, tuple[int, int]]:
    """A picture as RGB, the orientation that it still has, and its upright size; Pillow's own copy is freed."""
    with _opened(path) as image:
        size = _upright_size(image)
        if least_side is not None:
            image.draft("RGB", (least_side, least_side))
        if image.info.get("progressive"):
            _check_scans(cast(IO[bytes], image.fp))
        image.load()
        return _rgb(image), _orientation(image), size


@contextmanager
def _opened(path: Path) -> Iterator[ImageFile.ImageFile]:
    """A picture whose header has been read.

    Raises:
        BadInput: that or what is done with the picture fails.
    """
    try:
        with files.open_regular(path, MOST_BYTES) as file:
            _check_strips(file)
            watched = _Watched(file)
            with Image.open(cast(IO[bytes], watched), formats=FORMATS) as image:
                watched.left = None
                (width, height), most = image.size, MOST_OF_FORMAT.get(str(image.format), MOST_PIXELS)
                if width * height > most:
                    raise BadInput(f"{path} has {width} x {height} pixels, more than {most:,}.")
                yield image
    except BadInput:
        raise
    except Image.DecompressionBombError as error:
        raise BadInput(f"{path} has more than {MOST_PIXELS:,} pixels.") from error
    except Exception as error:  # decoders may raise anything on corrupt data; one bad picture must not stop a run
        why = error.strerror if isinstance(error, OSError) else ""
        if "MAX_TEXT" in str(error):  # a constant of Pillow's
            why = "it holds more text than a picture needs; save it anew without its metadata"
        raise BadInput(f"{path} can't be read as a picture: {why or error or type(error).__name__}.") from error


# ---- files that would take minutes or gigabytes


class _Watched:
    """A picture's file as Pillow reads it. Refuses to go on where a file has been made to keep a decoder busy."""

    def __init__(self, file: BufferedReader) -> None:
        self.file, self.reads = file, 0
        # WebP and AVIF are read at once, without a size; a layered TIFF has most of its bytes in its header.
        self.left: int | None = None if file.peek(2)[:2] in (b"II", b"MM") else MOST_BESIDE
        """Bytes that may still be read before the pixels; None once they are reached."""

    def read(self, size: int = -1) -> bytes:
        self.reads += 1
        if self.reads > MOST_READS:
            raise ValueError(f"it is in more than {MOST_READS:,} pieces")
        found = self.file.read(size)
        if self.left is not None and size >= 0:
            self.left -= len(found)
            if self.left < 0:
                raise ValueError(f"it has more than {MOST_BESIDE:,} bytes before its pixels")
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __repr__(self) -> str:
        """What Pillow calls it in messages."""
        return repr(str(self.file.name))


def _check_scans(file: IO[bytes]) -> None:
    """
    Raises:
        ValueError: a progressive JPEG has too many scans.
    """
    place, scans = file.tell(), 0
    file.seek(0)
    while chunk := file.read(1 << 20):
        scans += chunk.count(b"\xff\xda")  # the start of a scan; among pixels a byte FF is always followed by 00
    file.seek(place)
    if scans > MOST_SCANS:
        raise ValueError(f"it has {scans:,} scans, more than {MOST_SCANS:,}")


def _check_strips(file: BufferedReader) -> None:
    """
    Raises:
        ValueError: the file is a TIFF in too many strips or tiles.
    """
    head = file.read(16)
    order, big = {b"II": "<", b"MM": ">"}.get(head[:2]), b"+" in head[2:4]
    if order and len(head) == 16:  # noqa: PLR2004
        entry = struct.Struct(f"{order}HHQ8x" if big else f"{order}HHI4x")
        file.seek(*struct.unpack_from(f"{order}Q" if big else f"{order}I", head, 8 if big else 4))
        number = file.read(8 if big else 2)
        for _ in range(min(int.from_bytes(number, "little" if order == "<" else "big"), 1 << 16)):
            tag, _, count = entry.unpack(file.read(entry.size).ljust(entry.size, b"\0"))
            if tag in STRIPS and count > MOST_STRIPS:
                raise ValueError(f"it is in {count:,} strips, more than {MOST_STRIPS:,}")
    file.seek(0)


# ---- which way up


def _upright_size(image: ImageFile.ImageFile) -> tuple[int, int]:
    """Width and height after orientation of a picture that is not decoded yet."""
    if image.format == "PNG" and _has_metadata_behind(cast(IO[bytes], image.fp)):
        image.load()
    # Pillow itself turns TIFFs while it decodes them, and tells the size after that, unless only XMP says it.
    turned = image.format == "TIFF" and ORIENTATION in getattr(image, "tag_v2", {})
    return image.size[::-1] if not turned and _orientation(image) in SIDEWAYS else image.size


def _has_metadata_behind(file: IO[bytes]) -> bool:
    """Whether a PNG has chunks behind its pixels that may tell its orientation."""
    place, pixels, found = file.tell(), False, False
    file.seek(8)
    while len(head := file.read(8)) == 8 and not found:  # noqa: PLR2004
        pixels |= head[4:] == b"IDAT"
        found = pixels and head[4:] in (b"eXIf", b"iTXt", b"tEXt", b"zTXt")
        file.seek(int.from_bytes(head[:4]) + 4, 1)
    file.seek(place)
    return found


def is_whole(path: Path, size: tuple[int, int]) -> bool:
    """Whether a PNG file can be decoded to its end, with the right checksums and this width and height."""
    try:
        with files.open_regular(path, MOST_BYTES) as file, Image.open(file, formats=("PNG",)) as image:
            image.verify()  # the checksums, which decoding passes over
        return open_image(path).size == size
    except Exception:  # as in `open_sized`
        return False


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 if there is none or the EXIF can't be read."""
    try:
        # Not image.getexif(): for a PNG it would decode the pixels to look for EXIF after them.
        found = int(Image.Image.getexif(image).get(ORIENTATION, 1))
    except Exception:
        return 1
    return found if found in TURNS else 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey is scaled, since a plain convert would clip it to white
        key = image.info.get("transparency")  # the grey that means transparent
        image = image.convert("F").point(lambda value: value / 257).convert("L")
        if isinstance(key, int):
            image.info["transparency"] = key // 257
    elif image.mode == "F":  # values from 0 to 1
        image = image.point(lambda value: value * 255).convert("L")
    return _on_white(image) if "A" in image.getbands() or "transparency" in image.info else image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """A transparent picture on white, row by row: whole copies of a large one would take gigabytes."""
    flat = Image.new("RGB", image.size)
    for top in range(0, image.height, ROWS):
        strip = image.crop((0, top, image.width, min(top + ROWS, image.height))).convert("RGBA")
        flat.paste(Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip).convert("RGB"), (0, top))
    return flat


def fitted(image: Image.Image, size: tuple[int, int], fit: str) -> Image.Image:
    """The picture at another size, with its aspect ratio kept.

    Args:
        size: width and height in pixels.
        fit: "crop" trims the excess evenly from both sides; "pad" shows the whole picture between bars.
    """
    return ImageOps.fit(image, size, LANCZOS) if fit == "crop" else ImageOps.pad(image, size, LANCZOS, BAR)


def cut(grid: Image.Image, layout: Layout) -> list[Image.Image]:
    """The panels of a grid of the layout's canvas size, in reading order."""
    return [grid.crop(box) for box in layout.boxes]
