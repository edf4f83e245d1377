"""Opening pictures the one right way, and cutting grids into their panels."""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image, ImageOps

from pipeline.errors import BadInput
from pipeline.records import Layout

MOST_PIXELS = 120_000_000
"""Larger pictures are refused before they are decoded: 120 megapixels are 360 MB as RGB."""


def open_image(path: Path, *, least_side: int | None = None) -> Image.Image:
    """A picture, upright (EXIF orientation applied), RGB, transparency on white, first frame of an animation.

    Args:
        least_side: JPEGs may be decoded smaller as long as their short side keeps this many pixels, which is several
            times faster (libjpeg scales by 1/2, 1/4 or 1/8 while decoding).

    Raises:
        BadInput: the file is no picture, is cut off, or has more than MOST_PIXELS; the message says which.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large pictures and odd EXIF; both are handled here
            with Image.open(path) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise BadInput(f"{path} has {image.width} x {image.height} pixels, more than {MOST_PIXELS:,}.")
                if least_side is not None:
                    image.draft("RGB", (least_side, least_side))
                image.load()
                return _rgb(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:
        raise BadInput(f"{path} has more than {MOST_PIXELS:,} pixels.") from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise BadInput(f"{path} can't be read as a picture: {error}.") from error


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels after orientation, from the header alone.

    Raises:
        BadInput: the file is no picture.
    """
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # EXIF orientations that lie on their side
            return (image.height, image.width) if turned else (image.width, image.height)
    except Image.DecompressionBombError as error:
        raise BadInput(f"{path} has more than {MOST_PIXELS:,} pixels.") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise BadInput(f"{path} can't be read as a picture: {error}.") from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # 16-bit grey: scaled; a plain convert would clip it to white
        image = image.convert("F").point(lambda value: value / 257).convert("L")
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def cut(grid: Image.Image, layout: Layout) -> list[Image.Image]:
    """The panels of a grid on its own canvas, in reading order."""
    return [grid.crop(box) for box in layout.boxes]
