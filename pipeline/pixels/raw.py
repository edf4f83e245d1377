"""Raw pictures of cameras, developed by LibRaw with the camera's white balance."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    import rawpy

SIDEWAYS = (5, 6)
"""LibRaw's numbers for pictures that are turned by a quarter."""


class RawPicture:
    """A raw picture whose header has been read."""

    def __init__(self, raw: rawpy.RawPy) -> None:
        self.raw = raw
        width, height = raw.sizes.iwidth, raw.sizes.iheight
        self.size: tuple[int, int] = (height, width) if raw.sizes.flip in SIDEWAYS else (width, height)
        """Width and height upright."""

    def decode(self, least_side: int | None) -> tuple[Image.Image, tuple[str, ...]]:
        """The picture upright in sRGB and notes; at half its size where its sides keep at least `least_side` pixels."""
        half = least_side is not None and min(self.size) // 2 >= least_side
        return Image.fromarray(self.raw.postprocess(use_camera_wb=True, half_size=half)), ()


@contextmanager
def opened(file: BufferedReader) -> Iterator[RawPicture]:
    """
    Raises:
        ValueError: LibRaw can't read it.
    """
    import rawpy

    file.seek(0)
    try:
        with rawpy.imread(file) as raw:
            yield RawPicture(raw)
    except rawpy.LibRawError as error:
        said = error.args[0] if error.args else ""
        raise ValueError(said.decode(errors="replace") if isinstance(said, bytes) else str(said)) from error
