"""Opening pictures the one right way, and cutting grids into their panels."""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image, ImageOps

from pipeline.errors import BadInput
from pipeline.records import Layout

MOST_PIXELS = 120_000_000
"""Larger pictures are refused before they are decoded: 120 megapixels are 360 MB as RGB."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "AVIF")
"""Pillow goes by content, not by name; of the rest some run other programs (EPS starts Ghostscript)."""

LANCZOS = Image.Resampling.LANCZOS
BAR = (127, 127, 127)
"""Colour of the bars where a panel is padded: mid grey, 0 in the range -1..1 that image models see."""

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
"""What makes a picture of that EXIF orientation upright."""
LYING = (5, 6, 7, 8)

# Pillow warns of large pictures, odd EXIF and odd palettes; all are handled here. Set once, for good, since switching
# warnings off and on around each picture is not safe with threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


def open_image(path: Path, *, least_side: int | None = None) -> Image.Image:
    """A picture, upright (EXIF orientation applied), RGB, transparency on white, first frame of an animation.

    Args:
        least_side: JPEGs may be decoded smaller as long as their short side keeps this many pixels, which is several
            times faster (libjpeg scales by 1/2, 1/4 or 1/8 while decoding).

    Raises:
        BadInput: the file is no picture, is cut off, or has more than MOST_PIXELS; the message says which.
    """
    return open_sized(path, least_side=least_side)[0]


def open_sized(path: Path, *, least_side: int | None = None) -> tuple[Image.Image, tuple[int, int]]:
    """As `open_image`, with the width and height that the upright picture has when it is not decoded smaller."""
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
            return _rgb(upright), size[::-1] if orientation in LYING else size
    except BadInput:
        raise
    except Image.DecompressionBombError as error:
        raise BadInput(f"{path} has more than {MOST_PIXELS:,} pixels.") from error
    except Exception as error:  # a decoder that is fed junk may raise anything; one bad picture must not stop a run
        raise BadInput(f"{path} can't be read as a picture: {error or type(error).__name__}.") from error


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels after orientation, from the header alone.

    Raises:
        BadInput: the file is no picture.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            return image.size[::-1] if _orientation(image) in LYING else image.size
    except Image.DecompressionBombError as error:
        raise BadInput(f"{path} has more than {MOST_PIXELS:,} pixels.") from error
    except Exception as error:
        raise BadInput(f"{path} can't be read as a picture: {error}.") from error


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none or the EXIF can't be read."""
    try:
        # Not image.getexif(): for a PNG that would decode the pixels in search of EXIF behind them.
        found = int(Image.Image.getexif(image).get(ORIENTATION, 1))
    except Exception:
        return 1
    return found if found in TURNS else 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey: scaled; a plain convert would clip it to white
        key = image.info.get("transparency")  # the grey that means transparent
        image = image.convert("F").point(lambda value: value / 257).convert("L")
        if isinstance(key, int):
            image.info["transparency"] = key // 257
    elif image.mode == "F":  # light from 0 to 1
        image = image.point(lambda value: value * 255).convert("L")
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def fitted(image: Image.Image, size: tuple[int, int], fit: str) -> Image.Image:
    """The picture at another size, never squeezed.

    Args:
        fit: "crop" cuts what there is no room for, evenly from both sides; "pad" shows all of it between bars.
    """
    return ImageOps.fit(image, size, LANCZOS) if fit == "crop" else ImageOps.pad(image, size, LANCZOS, BAR)


def cut(grid: Image.Image, layout: Layout) -> list[Image.Image]:
    """The panels of a grid on its own canvas, in reading order."""
    return [grid.crop(box) for box in layout.boxes]
