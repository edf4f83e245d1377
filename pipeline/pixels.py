"""Opens and fits pictures, and cuts grids into panels."""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image, ImageOps

from pipeline.errors import BadInput
from pipeline.records import Layout

MOST_PIXELS = 120_000_000
"""Larger pictures are refused before decoding: 120 megapixels take 360 MB as RGB."""

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

# Pillow warns about large pictures, odd EXIF and odd palettes; all are handled here. Set once, since switching warnings
# off and on around each picture is not thread-safe.
warnings.filterwarnings("ignore", module=r"PIL\.")


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
    try:
        with Image.open(path, formats=FORMATS) as image:
            size = image.size
            if size[0] * size[1] > MOST_PIXELS:
                raise BadInput(f"{path} has {size[0]} x {size[1]} pixels, more than {MOST_PIXELS:,}.")
            if least_side is not None:
                image.draft("RGB", (least_side, least_side))
            image.load()
            orientation = _orientation(image)
            upright = image.transpose(TURNS[orientation]) if orientation in TURNS else image
            return _rgb(upright), size[::-1] if orientation in SIDEWAYS else size
    except BadInput:
        raise
    except Image.DecompressionBombError as error:
        raise BadInput(f"{path} has more than {MOST_PIXELS:,} pixels.") from error
    except Exception as error:  # decoders may raise anything on corrupt data; one bad picture must not stop a run
        raise BadInput(f"{path} can't be read as a picture: {error or type(error).__name__}.") from error


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels after orientation, from the header alone.

    Raises:
        BadInput: the file is not a picture.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            return image.size[::-1] if _orientation(image) in SIDEWAYS else image.size
    except Image.DecompressionBombError as error:
        raise BadInput(f"{path} has more than {MOST_PIXELS:,} pixels.") from error
    except Exception as error:
        raise BadInput(f"{path} can't be read as a picture: {error}.") from error


def is_whole(path: Path, size: tuple[int, int]) -> bool:
    """Whether a PNG file can be decoded to its end, with the right checksums and this width and height."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
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
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


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
