"""Fits pictures to panels, and cuts grids into panels."""

from __future__ import annotations

from PIL import Image, ImageOps

from pipeline.records import Box, Layout

LANCZOS = Image.Resampling.LANCZOS
BAR = (127, 127, 127)
"""Colour of padding: mid grey, which is 0 in the range -1..1 that image models see."""
CENTRE = 0.5
"""The focus of a crop that takes the same from both sides."""


def fitted(image: Image.Image, size: tuple[int, int], fit: str, focus: float = CENTRE) -> Image.Image:
    """The picture at another size, with its aspect ratio kept.

    Args:
        size: width and height in pixels.
        fit: "crop" trims the longer side; "pad" shows the whole picture between bars.
        focus: where a crop is taken, from 0 (all that is cut is at the right or bottom) to 1 (at the left or top).
    """
    if fit == "crop":
        return ImageOps.fit(image, size, LANCZOS, centering=(focus, focus))
    return ImageOps.pad(image, size, LANCZOS, BAR)


def crop_of(width: int, height: int, size: tuple[int, int]) -> tuple[bool, float]:
    """How a picture is cropped to the shape of a panel.

    Args:
        width, height: of the picture, in pixels.
        size: width and height of the panel.

    Returns:
        Whether it is cut at top and bottom (else left and right), and which share of that side is cut, 0 to 1.
    """
    across, down = size[0] / width, size[1] / height
    return across > down, 1 - min(across, down) / max(across, down)


def narrowed(box: Box, size: tuple[int, int], shape: tuple[int, int]) -> Box:
    """The largest box of a shape in the middle of another one; both are shares of a picture.

    Args:
        size: width and height of the picture in pixels.
        shape: any width and height of that shape.
    """
    left, top, right, bottom = box
    width, height = (right - left) * size[0], (bottom - top) * size[1]
    scale = min(width / shape[0], height / shape[1])
    across, down = (1 - scale * shape[0] / width) / 2, (1 - scale * shape[1] / height) / 2
    return (
        max(0.0, left + across * (right - left)),
        max(0.0, top + down * (bottom - top)),
        min(1.0, right - across * (right - left)),
        min(1.0, bottom - down * (bottom - top)),
    )


def boxed(image: Image.Image, size: tuple[int, int], box: Box) -> Image.Image:
    """The part of a picture within a box at another size; only its middle, if the box has another shape."""
    left, top, right, bottom = narrowed(box, image.size, size)
    width, height = image.size
    return image.resize(size, LANCZOS, box=(left * width, top * height, right * width, bottom * height))


def cut(grid: Image.Image, layout: Layout) -> list[Image.Image]:
    """The panels of a grid of the layout's canvas size, in reading order."""
    return [grid.crop(box) for box in layout.boxes]
