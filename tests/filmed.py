"""Writes small films of any codec and container with PyAV, from pictures."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
FAST = {"crf": "16", "preset": "superfast"}
SIZE = (192, 108)


def scene(seed: int, time: float = 0.0, size: tuple[int, int] = SIZE) -> Image:
    """A coloured ground with shapes that differ by seed, and a bright disc that moves; RGB."""
    width, height = size
    rng = np.random.default_rng(seed)
    image = np.empty((height, width, 3), np.uint8)
    image[:] = rng.integers(40, 216, 3)
    for _ in range(14):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        colour = tuple(int(value) for value in rng.integers(30, 230, 3))
        cv2.rectangle(image, (x, y), (x + width // 8, y + height // 9), colour, -1)
    place = int(time * width / 4 + rng.integers(0, width)) % width
    cv2.circle(image, (place, height // 2), height // 6, (240, 235, 225), -1)
    return image


def shots(
    seeds: Iterable[int], seconds: float = 2.0, rate: float = 25, size: tuple[int, int] = SIZE
) -> Iterator[Image]:
    """A film of one scene after the other."""
    return (scene(seed, n / rate, size) for seed in seeds for n in range(round(seconds * rate)))


@dataclass(frozen=True)
class How:
    """How a film is written. `tags`: matrix, primaries and transfer, as code points of H.273."""

    codec: str = "libx264"
    container: str | None = None  # by the path's ending if None
    pixels: str = "yuv420p"
    source: str = "rgb24"
    options: Mapping[str, str] = field(default_factory=lambda: FAST)
    tags: tuple[int, int, int] | None = None


def write(path: Path, images: Iterable[Image], *, rate: Fraction | int = 25, **how: Any) -> Path:
    """Writes a film of pictures in the pixel format `source`; `how` has the fields of `How`."""
    chosen = How(**how)
    with av.open(str(path), "w", format=chosen.container) as out:
        stream = out.add_stream(chosen.codec, rate=rate, options=dict(chosen.options))
        stream.pix_fmt = chosen.pixels
        first = next(images := iter(images))
        stream.height, stream.width = first.shape[:2]
        if chosen.tags:
            context = stream.codec_context
            context.colorspace, context.color_primaries, context.color_trc = chosen.tags
            context.color_range = 1
        for number, image in enumerate(itertools.chain([first], images)):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format=chosen.source)
            if chosen.tags:
                frame = frame.reformat(format=chosen.pixels, dst_colorspace=chosen.tags[0], dst_color_range=1)
            frame.pts, frame.time_base = number, 1 / Fraction(rate)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def zero(path: Path, start: float, end: float) -> Path:
    """Overwrites the packets of a film that lie within these seconds with zeros."""
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        spots = [
            (packet.pos, packet.size)
            for packet in film.demux(stream)
            if packet.pos and packet.pts is not None and start <= float(packet.pts * packet.time_base) < end
        ]
    content = bytearray(path.read_bytes())
    for place, size in spots:
        content[place : place + size] = bytes(size)
    path.write_bytes(content)
    return path


def combing(image: Image) -> float:
    """Share of combed pixels of a picture (RGB or grey): neighbours above and below are alike, and unlike it."""
    grey = image.mean(axis=2) if image.ndim == 3 else image.astype(float)
    unlike = np.abs(grey[1:-1] - (grey[:-2] + grey[2:]) / 2) > 30
    alike = np.abs(grey[:-2] - grey[2:]) < 12
    return float((unlike & alike).mean())
