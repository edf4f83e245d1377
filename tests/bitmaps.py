"""Pictures whose bytes are the same whatever libraries are installed: ids made of them can be kept in a file."""

from __future__ import annotations

import struct
from pathlib import Path

SIZE = (64, 64)
SMALL = {
    "layout.panel_width": 64,
    "layout.panel_height": 64,
    "group.floor": 0,
    "group.near": 0,
    "group.ceiling": 1,
    "group.prove": False,
}
"""Settings of the task storyboard for pictures of that size, of which any three make a grid."""


def write(path: Path, seed: int) -> Path:
    """A bitmap of coloured blocks that looks like that of no other seed."""
    width, height = SIZE
    pixels = bytearray()
    for y in range(height):
        for x in range(width):
            block = (x // 16 + 4 * (y // 8)) * 2654435761 + seed * 40503
            pixels += bytes((block >> shift) & 0xFF for shift in (3, 11, 19))
    head = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 54 + len(pixels), 0, 0, 54, 40, width, -height, 1, 24, *(0,) * 6)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + bytes(pixels))
    return path


def folders(home: Path, names: str, pictures: int = 3) -> Path:
    """Folders of pictures, each named with a letter."""
    for name in names:
        for number in range(1, pictures + 1):
            write(home / name / f"{number}.bmp", 100 * ord(name) + number)
    return home
