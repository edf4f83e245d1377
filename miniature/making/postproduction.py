"""What happens to a film after the camera: darkness, bars, subtitles, logos, titles and compression, with their truth.

Every function takes an RGB image (height x width x 3) and returns a new one; those that lay something over it return
its box too: left, top, right, bottom in pixels. `encoded` sends frames through a real H.264 encoder and back.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Frame = NDArray[np.uint8]
Box = tuple[int, int, int, int]
Colour = tuple[int, int, int]

WHITE, BLACK, YELLOW = (255, 255, 255), (0, 0, 0), (250, 230, 60)
OUTLINE = 0.1
"""Width of the outline of letters, as a share of their body's height."""
PLACES = ("top left", "top right", "bottom left", "bottom right")


def panned(image: Frame, by: tuple[float, float]) -> Frame:
    """The image moved by so many pixels to the right and down; what comes in at the edges is its mirror image."""
    height, width = image.shape[:2]
    move = np.asarray([[1, 0, by[0]], [0, 1, by[1]]], np.float32)
    moved = cv2.warpAffine(image, move, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(moved, np.uint8)


def darkened(image: Frame, gain: float, light: tuple[float, float] | None = None) -> Frame:
    """The scene at night: multiplied by `gain`, brighter around a light at `light` (shares of width and height)."""
    height, width = image.shape[:2]
    shade = np.full((height, width, 1), gain, np.float32)
    if light:
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        near = ((x - light[0] * width) ** 2 + (y - light[1] * height) ** 2) / (0.12 * width) ** 2
        shade += (0.8 * np.exp(-near))[..., None]
    lit: Frame = np.clip(image * shade, 0, 255).astype(np.uint8)
    return lit


@dataclass(frozen=True)
class Bars:
    """Bars around a picture, in pixels of the whole frame."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0
    colour: Colour = BLACK
    noise: float = 0.0
    """Standard deviation of the noise on them."""
    soft: float = 0.0
    """Standard deviation, in pixels, of the blur of their edges."""


def barred(image: Frame, bars: Bars, rng: np.random.Generator) -> Frame:
    """The image, scaled and cropped to the room between the bars."""
    height, width = image.shape[:2]
    across, down = width - bars.left - bars.right, height - bars.top - bars.bottom
    if (across, down) == (width, height):
        return image
    scale = max(across / width, down / height)
    large = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    y, x = (large.shape[0] - down) // 2, (large.shape[1] - across) // 2
    frame = np.empty(image.shape, np.float32)
    frame[:] = np.asarray(bars.colour, np.float32)
    frame[bars.top : bars.top + down, bars.left : bars.left + across] = large[y : y + down, x : x + across]
    if bars.soft:
        frame = np.asarray(cv2.GaussianBlur(frame, (0, 0), bars.soft), np.float32)
    if bars.noise:
        frame += rng.normal(0, bars.noise, frame.shape).astype(np.float32)
    return np.clip(frame, 0, 255).astype(np.uint8)


def lettered(
    image: Frame,
    lines: Sequence[str],
    at: tuple[float, float],
    *,
    size: float = 0.055,
    colour: Colour = WHITE,
    opacity: float = 1.0,
) -> tuple[Frame, Box]:
    """Lines of text, centred on a point, with a black outline unless they let the picture through.

    Args:
        at: the point, as shares of width and height.
        size: height of the letters' body, as a share of the frame's height.
        opacity: 0 to 1; less than 1 for a watermark.
    """
    height, width = image.shape[:2]
    font = ImageFont.load_default(max(8, round(size * height)))
    layer = Image.new("RGBA", (width, height))
    pen = ImageDraw.Draw(layer)
    pen.multiline_text(
        (at[0] * width, at[1] * height),
        "\n".join(lines),
        font=font,
        anchor="mm",
        align="center",
        fill=(*colour, 255),
        stroke_width=round(OUTLINE * size * height) if opacity == 1 else 0,
        stroke_fill=(0, 0, 0, 255),
    )
    return _laid_over(image, layer, opacity)


def with_logo(image: Frame, place: str, *, size: float = 0.1, opacity: float = 1.0) -> tuple[Frame, Box]:
    """A channel's logo of a disc, a ring and a bar, without letters, in a corner of the frame (see PLACES)."""
    height, width = image.shape[:2]
    layer = Image.new("RGBA", (width, height))
    pen, side = ImageDraw.Draw(layer), round(size * height)
    x = round(0.05 * width) if "left" in place else round(0.95 * width) - 2 * side
    y = round(0.06 * height) if "top" in place else round(0.94 * height) - side
    pen.ellipse((x, y, x + side, y + side), fill=(230, 230, 230, 255))
    pen.ellipse((x + side // 4, y + side // 4, x + side * 3 // 4, y + side * 3 // 4), fill=(30, 30, 40, 255))
    pen.rectangle((x + side * 5 // 4, y + side // 5, x + 2 * side, y + side * 2 // 5), fill=(230, 230, 230, 255))
    pen.polygon(
        ((x + side * 5 // 4, y + side), (x + side * 13 // 8, y + side // 2), (x + 2 * side, y + side)),
        fill=(230, 230, 230, 255),
    )
    return _laid_over(image, layer, opacity)


def _laid_over(image: Frame, layer: Image.Image, opacity: float) -> tuple[Frame, Box]:
    box = layer.getbbox() or (0, 0, 0, 0)
    pixels = np.asarray(layer, np.float32)
    cover = pixels[..., 3:] / 255 * opacity
    return np.clip(image * (1 - cover) + pixels[..., :3] * cover, 0, 255).astype(np.uint8), box


def sign(image: Frame, text: str, at: tuple[float, float], *, size: float = 0.05) -> Frame:
    """A shop's sign, part of the scene: dark letters on a light plate."""
    height, width = image.shape[:2]
    font = ImageFont.load_default(max(8, round(size * height)))
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    middle = (at[0] * width, at[1] * height)
    left, top, right, bottom = pen.textbbox(middle, text, font=font, anchor="mm")
    pen.rectangle((left - 8, top - 6, right + 8, bottom + 6), fill=(236, 226, 190), outline=(60, 40, 30), width=2)
    pen.text(middle, text, font=font, anchor="mm", fill=(60, 30, 30))
    return np.asarray(picture)


def encoded(frames: Iterable[Frame], *, fps: int = 12, crf: int = 23) -> Iterator[Frame]:
    """The frames after H.264 compression and decoding, RGB; all of one even size."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": str(crf), "preset": "superfast"})
        stream.pix_fmt = "yuv420p"
        for number, image in enumerate(frames):
            if number == 0:
                stream.height, stream.width = image.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        container.mux(stream.encode())
    file.seek(0)
    with av.open(file, "r") as film:
        for frame in film.decode(film.streams.video[0]):
            yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
