"""Pictures: opened upright and in sRGB whatever their format, fitted to panels, and grids cut into panels.

file -> opening (formats, guards, orientation) -> colour (coding, profiles, hdr) -> subject (faces) -> fitting -> png
"""

from __future__ import annotations

from pipeline.pixels.fitting import BAR, CENTRE, LANCZOS, boxed, crop_of, cut, fitted
from pipeline.pixels.formats import installed
from pipeline.pixels.opening import (
    FORMATS,
    MOST_BYTES,
    MOST_PIXELS,
    Opened,
    frames,
    is_sequence,
    open_image,
    open_sized,
    upright_size,
)
from pipeline.pixels.orientation import ORIENTATION, TURNS

__all__ = [
    "BAR",
    "CENTRE",
    "FORMATS",
    "LANCZOS",
    "MOST_BYTES",
    "MOST_PIXELS",
    "ORIENTATION",
    "TURNS",
    "Opened",
    "boxed",
    "crop_of",
    "cut",
    "fitted",
    "frames",
    "installed",
    "is_sequence",
    "open_image",
    "open_sized",
    "upright_size",
]
