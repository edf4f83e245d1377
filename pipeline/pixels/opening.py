"""Opens pictures of every format that the toolkit reads, and refuses those that would take minutes or gigabytes."""

from __future__ import annotations

import ctypes
import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, Protocol, cast

from PIL import Image, ImageFile, PngImagePlugin, _imaging

from pipeline import files
from pipeline.errors import BadInput
from pipeline.pixels import coding, colour, formats, guards, jxl, raw
from pipeline.pixels.orientation import TURNS, orientation
from pipeline.pixels.orientation import upright_size as size_of

MOST_PIXELS = 120_000_000
"""Larger pictures are refused before decoding: Pillow takes 480 MB for 120 megapixels as RGB."""
MOST_OF_FORMAT = {
    "AVIF": 80_000_000,
    "HEIF": 100_000_000,
    "JPEG2000": 60_000_000,
    "JXL": 100_000_000,
    "RAW": 105_000_000,
    "WEBP": 80_000_000,
    "slow": 4_200_000,
}
"""Their decoders hold the picture several times or in more bits: with these limits none takes 2 GB. Slow ones take
seconds for 2048 x 2048."""
SLOW = {"dds_rgb", "ppm", "ppm_plain"}
"""Pillow's decoders that are written in Python."""
MOST_BYTES = 1 << 29
"""Larger files are no pictures of MOST_PIXELS, and some formats are read into memory whole."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "AVIF", "JPEG2000", "DDS", "PSD", "PPM")
"""Detected by content, not by name; some of Pillow's other formats start programs (EPS runs Ghostscript)."""
SEQUENCES = ("GIF", "WEBP", "PNG", "AVIF", "TIFF", "HEIF")
"""Formats whose further pictures are frames or pages; those of MPO are previews and maps, those of PSD layers."""
SEVERAL = "the first of several frames or pages"
"""The note of a picture that has more."""
HEAD = 512
"""Bytes by which a format is recognised."""
MERGED, THUMBNAIL = 1057, 254
"""PSD's resource that says whether there is a merged picture, and TIFF's tag for smaller copies of other pages."""

# Pillow warns about large pictures, odd EXIF and odd palettes; all are handled here. Set once, since switching warnings
# off and on around each picture is not thread-safe.
warnings.filterwarnings("ignore", module=r"PIL\.")
PngImagePlugin.MAX_TEXT_CHUNK = 1 << 24  # 1 MiB refuses pictures into which a program has written its whole workflow
with suppress(AttributeError, OSError):  # libtiff prints to stderr; where Pillow has it built in, it can't be silenced
    _libtiff = ctypes.CDLL(_imaging.__file__)
    for _handler in (_libtiff.TIFFSetErrorHandler, _libtiff.TIFFSetWarningHandler):
        _handler.argtypes, _handler.restype = [ctypes.c_void_p], ctypes.c_void_p
        _handler(None)


@dataclass(frozen=True)
class Opened:
    """A picture as it was opened."""

    image: Image.Image
    """RGB in sRGB, upright; at a reduced size if that was asked for."""
    size: tuple[int, int]
    """Width and height of the upright picture at full size."""
    notes: tuple[str, ...] = ()
    """What a person should know, a phrase each: a colour profile that is ignored, the first of several frames."""


def open_image(path: Path, *, least_side: int | None = None) -> Image.Image:
    """Opens a picture as RGB in sRGB: EXIF orientation and colour profile applied, transparency on white, the first
    frame of an animation.

    Args:
        least_side: JPEGs and raw pictures may be decoded at a reduced size as long as the short side keeps this many
            pixels, which is several times faster (libjpeg scales by 1/2, 1/4 or 1/8 while decoding).

    Raises:
        BadInput: the file is not a picture, is truncated, has more pixels than are decoded, or its format needs a
            package that is not installed; the message says which.
    """
    return open_sized(path, least_side=least_side).image


def open_sized(path: Path, *, least_side: int | None = None) -> Opened:
    """Like `open_image`, with the size of the upright picture and what a person should know of it."""
    with _opened(path) as picture:
        size = picture.size
        image, notes = picture.decode(least_side)
    return Opened(image, size, notes)


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels after orientation; of nearly all pictures from the header alone.

    Raises:
        BadInput: the file is not a picture.
    """
    with _opened(path) as picture:
        return picture.size


def is_sequence(path: Path) -> bool:
    """Whether a picture has further frames or pages.

    Raises:
        BadInput: the file is not a picture.
    """
    with _opened(path) as picture:
        return isinstance(picture, _PillowPicture) and picture.is_sequence


def frames(path: Path) -> Iterator[Image.Image]:
    """The frames of an animation or the pages of a document, each as by `open_image`; one for any other picture.

    A frame that shows the same as the one before it is left out: so animations hold a picture.

    Raises:
        BadInput: as in `open_image`; frames before a damaged one have been given by then.
    """
    with _opened(path) as picture:
        if not isinstance(picture, _PillowPicture):
            yield picture.decode(None)[0]
            return
        earlier = b""
        for image in picture.frames():
            digest = hashlib.sha256(image.tobytes()).digest()
            if digest != earlier:
                yield image
            earlier = digest


class _Picture(Protocol):
    """A picture whose header has been read."""

    size: tuple[int, int]
    """Width and height upright."""

    def decode(self, least_side: int | None) -> tuple[Image.Image, tuple[str, ...]]:
        """The picture as in `open_sized`, and notes."""


class _PillowPicture:
    def __init__(self, image: ImageFile.ImageFile) -> None:
        self.image = image
        self.size = size_of(image)

    def decode(self, least_side: int | None) -> tuple[Image.Image, tuple[str, ...]]:
        image = self.image
        several = (SEVERAL,) if self.is_sequence else ()
        if least_side is not None:
            image.draft("RGB", (least_side, least_side))
        if image.info.get("progressive"):
            guards.check_scans(cast(IO[bytes], image.fp))
        image.load()
        upright, notes = self._upright()
        return upright, (*several, *notes)

    def frames(self) -> Iterator[Image.Image]:
        number = 0
        while True:
            if not (self.image.format == "TIFF" and number and self._is_thumbnail()):
                _check_pixels(self.image)
                self.image.load()
                yield self._upright()[0]
            number += 1
            if not self.is_sequence:
                return
            try:
                self.image.seek(number)
            except EOFError:
                return

    def _upright(self) -> tuple[Image.Image, tuple[str, ...]]:
        image, notes = colour.to_srgb(self.image)
        turn = TURNS.get(orientation(self.image))
        return (image if turn is None else image.transpose(turn)), notes

    @property
    def is_sequence(self) -> bool:
        return self.image.format in SEQUENCES and bool(getattr(self.image, "is_animated", False))

    def _is_thumbnail(self) -> bool:
        return bool(int(getattr(self.image, "tag_v2", {}).get(THUMBNAIL, 0)) & 1)


@contextmanager
def _opened(path: Path) -> Iterator[_Picture]:
    """A picture whose header has been read.

    Raises:
        BadInput: that or what is done with the picture fails.
    """
    try:
        with files.open_regular(path, MOST_BYTES) as file:
            head = file.read(HEAD)
            file.seek(0)
            decoder = formats.decoder_of(head, path.name)
            if lacking := formats.lacking(decoder):
                raise BadInput(f"{path} is {lacking}")
            if decoder == formats.RAW:
                with raw.opened(file) as developed:
                    _check(developed.size, decoder)
                    yield developed
            else:
                with _pillow_image(file, decoder) as image:
                    yield _PillowPicture(image)
    except BadInput:
        raise
    except Image.DecompressionBombError as error:
        raise BadInput(f"{path} has more than {MOST_PIXELS:,} pixels.") from error
    except Exception as error:  # decoders may raise anything on corrupt data; one bad picture must not stop a run
        why = error.strerror if isinstance(error, OSError) else ""
        if "MAX_TEXT" in str(error):  # a constant of Pillow's
            why = "it holds more text than a picture needs; save it anew without its metadata"
        said = " ".join(str(why or error or type(error).__name__).split()).rstrip(".")
        raise BadInput(f"{path} can't be read as a picture: {said}.") from error


@contextmanager
def _pillow_image(file: BufferedReader, decoder: str) -> Iterator[ImageFile.ImageFile]:
    """A picture of one of Pillow's formats, or of that of a package that adds to them."""
    guards.check_strips(file)
    if decoder == formats.JXL:
        jxl.check(file, MOST_OF_FORMAT["JXL"])
        file.seek(0)
    watched = guards.Watched(file)
    with Image.open(cast(IO[bytes], watched), formats=(decoder,) if decoder else FORMATS) as image:
        watched.left = None
        _check_pixels(image)
        if cicp := coding.points_of(image, file):
            image.info["cicp"] = cicp
        yield image


def _check_pixels(image: ImageFile.ImageFile) -> None:
    """
    Raises:
        ValueError: it has more pixels than its decoder can be trusted with, or no merged picture.
    """
    slow = not SLOW.isdisjoint(tile.codec_name for tile in image.tile)
    _check(image.size, "slow" if slow else str(image.format))
    if image.format == "PSD":
        merged = next((data for number, _, data in image.resources if number == MERGED), b"")  # type: ignore[attr-defined]
        if len(merged) > 4 and not merged[4]:  # noqa: PLR2004
            raise ValueError("it has layers only; save it with 'Maximize Compatibility', or as PNG")


def _check(size: tuple[int, int], kind: str) -> None:
    most = MOST_OF_FORMAT.get(kind, MOST_PIXELS)
    if size[0] * size[1] > most:
        raise ValueError(f"it has {size[0]} x {size[1]} pixels, more than {most:,}")
