"""Raw pictures of a camera that doesn't exist, for tests."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from PIL import Image

MATRIX = (0.41239, 0.35758, 0.18048, 0.21264, 0.71517, 0.07219, 0.01933, 0.11919, 0.95053)
"""From linear sRGB to XYZ; a camera that sees sRGB's own primaries has its inverse."""


def write_dng(path: Path, picture: Image.Image, orientation: int = 1) -> Path:
    """A DNG whose sensor has seen an sRGB picture through a Bayer filter.

    Args:
        picture: RGB, with even sides.
        orientation: as in EXIF; the picture is how the sensor has it.
    """
    codes = np.asarray(picture.convert("RGB")) / 255
    linear = np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)
    mosaic = linear[..., 1].copy()
    mosaic[::2, ::2], mosaic[1::2, 1::2] = linear[::2, ::2, 0], linear[1::2, 1::2, 2]
    pixels = np.round(mosaic * 65535).astype("<u2").tobytes()
    inverse = np.linalg.inv(np.reshape(MATRIX, (3, 3))).ravel()
    width, height = picture.size
    entries: list[tuple[int, int, bytes]] = [
        (254, 4, struct.pack("<I", 0)),
        (256, 4, struct.pack("<I", width)),
        (257, 4, struct.pack("<I", height)),
        (258, 3, struct.pack("<H", 16)),
        (259, 3, struct.pack("<H", 1)),
        (262, 3, struct.pack("<H", 32803)),
        (271, 2, b"Drawn\0"),
        (272, 2, b"Drawn One\0"),
        (273, 4, b""),  # where the pixels are
        (274, 3, struct.pack("<H", orientation)),
        (277, 3, struct.pack("<H", 1)),
        (278, 4, struct.pack("<I", height)),
        (279, 4, struct.pack("<I", len(pixels))),
        (284, 3, struct.pack("<H", 1)),
        (33421, 3, struct.pack("<HH", 2, 2)),
        (33422, 1, bytes((0, 1, 1, 2))),
        (50706, 1, bytes((1, 4, 0, 0))),
        (50708, 2, b"Drawn One\0"),
        (50714, 4, struct.pack("<I", 0)),
        (50717, 4, struct.pack("<I", 65535)),
        (50721, 10, b"".join(struct.pack("<ii", round(value * 10_000), 10_000) for value in inverse)),
        (50728, 5, struct.pack("<6I", 1, 1, 1, 1, 1, 1)),
        (50778, 3, struct.pack("<H", 21)),
    ]
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 10: 8}
    start = 8 + 2 + 12 * len(entries) + 4
    far = b"".join(content for _, _, content in entries if len(content) > 4)
    directory, body = struct.pack("<H", len(entries)), b""
    for tag, kind, given in entries:
        content = given or struct.pack("<I", start + len(far))
        if len(content) > 4:
            directory += struct.pack("<HHII", tag, kind, len(content) // sizes[kind], start + len(body))
            body += content
        else:
            directory += struct.pack("<HHI", tag, kind, len(content) // sizes[kind]) + content.ljust(4, b"\0")
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + directory + bytes(4) + body + pixels)
    return path
