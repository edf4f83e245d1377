"""Which way up a picture is, as far as possible from its header alone."""

from __future__ import annotations

from typing import IO, cast

from PIL import Image, ImageFile

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
"""The operation that makes a picture with this EXIF orientation upright."""
SIDEWAYS = (5, 6, 7, 8)
"""Orientations that swap width and height."""


def upright_size(image: ImageFile.ImageFile) -> tuple[int, int]:
    """Width and height after orientation of a picture that is not decoded yet."""
    if image.format == "PNG" and _has_metadata_behind(cast(IO[bytes], image.fp)):
        image.load()
    # Pillow itself turns TIFFs while it decodes them, and tells the size after that, unless only XMP says it.
    turned = image.format == "TIFF" and ORIENTATION in getattr(image, "tag_v2", {})
    return image.size[::-1] if not turned and orientation(image) in SIDEWAYS else image.size


def _has_metadata_behind(file: IO[bytes]) -> bool:
    """Whether a PNG has chunks behind its pixels that may tell its orientation."""
    place, pixels, found = file.tell(), False, False
    file.seek(8)
    while len(head := file.read(8)) == 8 and not found:  # noqa: PLR2004
        pixels |= head[4:] == b"IDAT"
        found = pixels and head[4:] in (b"eXIf", b"iTXt", b"tEXt", b"zTXt")
        file.seek(int.from_bytes(head[:4]) + 4, 1)
    file.seek(place)
    return found


def orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 if there is none or the EXIF can't be read."""
    if image.format == "JXL" and not getattr(image, "jpeg", False):
        return 1  # its decoder turns pictures by the codestream, which counts before EXIF; a JPEG in it is as it was
    try:
        # Not image.getexif(): for a PNG it would decode the pixels to look for EXIF after them.
        found = int(Image.Image.getexif(image).get(ORIENTATION, 1))
    except Exception:
        return 1
    return found if found in TURNS else 1
