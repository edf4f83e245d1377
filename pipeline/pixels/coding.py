"""Code points by which a picture says its colours (ITU-T H.273, CICP), where Pillow passes them over."""

from __future__ import annotations

from typing import IO

from PIL import ImageFile

Points = tuple[int, int]
"""The numbers of primaries and transfer characteristics."""
UNSAID = 2
"""Either number where nothing is said."""
NEAR = 1 << 16
"""Bytes from the start of an AVIF within which its boxes are looked for."""


def points_of(image: ImageFile.ImageFile, file: IO[bytes]) -> Points | None:
    """The code points of a picture that is not decoded yet; None if it has none."""
    said: Points | None = None
    if image.format == "PNG":
        said = _of_png(file)
    elif image.format == "AVIF":
        said = _of_avif(file)
    elif image.format == "HEIF" and (nclx := image.info.get("nclx_profile")):
        said = int(nclx["color_primaries"]), int(nclx["transfer_characteristics"])
    return None if said is None or UNSAID in said else said


def _of_png(file: IO[bytes]) -> Points | None:
    """Of the chunk cICP, which stands before the pixels."""
    place, found = file.tell(), None
    file.seek(8)
    while len(head := file.read(8)) == 8 and head[4:] != b"IDAT":  # noqa: PLR2004
        if head[4:] == b"cICP":
            content = file.read(4)
            found = (content[0], content[1]) if len(content) == 4 else None  # noqa: PLR2004
            break
        file.seek(int.from_bytes(head[:4]) + 4, 1)
    file.seek(place)
    return found


def _of_avif(file: IO[bytes]) -> Points | None:
    """Of the first box `colr` of the type nclx."""
    place = file.tell()
    file.seek(0)
    _, mark, content = file.read(NEAR).partition(b"colrnclx")
    file.seek(place)
    return (int.from_bytes(content[:2]), int.from_bytes(content[2:4])) if mark and len(content) > 3 else None  # noqa: PLR2004
