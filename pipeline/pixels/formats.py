"""Which decoder reads a picture, by its first bytes: Pillow itself, or a package of the extra `pictures`."""

from __future__ import annotations

import importlib
import importlib.util
import struct
from collections.abc import Iterator

from pipeline.plugins import extras

HEIF, JXL, RAW, TGA = "HEIF", "JXL", "RAW", "TGA"
PACKAGES = {
    HEIF: ("a HEIC picture", "pillow-heif", "pillow_heif"),
    JXL: ("a JPEG XL picture", "pillow-jxl-plugin", "pillow_jxl"),
    RAW: ("a camera's raw picture", "rawpy", "rawpy"),
}
"""What each is called, the package that reads it, and that package's module."""
EXTRA = "pictures"

AVIF_BRANDS = {b"avif", b"avis"}
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"heif"}
JXL_MARKS = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")
RAW_MARKS: tuple[dict[int, bytes], ...] = (
    {4: b"ftypcrx "},  # Canon CR3
    {0: b"II*\0", 8: b"CR"},  # Canon CR2
    {0: b"II\x1a\0\0\0HEAPCCDR"},  # Canon CRW
    {0: b"FUJIFILMCCD-RAW"},
    {0: b"IIRO"},  # Olympus, with the next two
    {0: b"IIRS"},
    {0: b"MMOR"},
    {0: b"IIU\0"},  # Panasonic and Leica RW2
    {0: b"FOVb"},  # Sigma X3F
    {0: b"\0MRM"},  # Minolta
)
SUBFILE_TYPE, PHOTOMETRIC, DNG_VERSION = 254, 262, 50706
"""TIFF's tags. Bit 0 of the first is set for a smaller copy of another picture in the file."""
SENSOR = (32803, 34892)
"""TIFF's photometric interpretations for values of a sensor."""
TGA_ENDINGS = (".tga", ".icb", ".vda", ".vst")
TGA_DEPTHS = {1: (8,), 2: (15, 16, 24, 32), 3: (8, 16), 9: (8,), 10: (15, 16, 24, 32), 11: (8, 16)}
"""Bits of a pixel by the type of a TGA's picture: palette, colour, grey, and these three packed."""


def decoder_of(head: bytes, name: str) -> str:
    """The decoder of a picture: one of the names above, or empty for all that Pillow recognises itself.

    Args:
        head: its first bytes, 512 or all of a shorter one.
        name: of the file; counts for TGA alone, which has no mark.
    """
    if any(all(head.startswith(mark, place) for place, mark in marks.items()) for marks in RAW_MARKS):
        return RAW
    if head[4:8] == b"ftyp":
        brands = brands_of(head)
        return HEIF if brands & HEIC_BRANDS and not brands & AVIF_BRANDS else ""
    if head.startswith(JXL_MARKS):
        return JXL
    if is_sensor(head):
        return RAW
    return TGA if name.lower().endswith(TGA_ENDINGS) and _is_plausible_tga(head) else ""


def brands_of(head: bytes) -> set[bytes]:
    """The brands of a file of the MP4 family: the main one, and those that it is compatible with."""
    end = min(int.from_bytes(head[:4]), len(head))
    return {head[8:12], *(head[place : place + 4] for place in range(16, end, 4))}


def is_sensor(head: bytes) -> bool:
    """Whether a TIFF's first picture is of a sensor's values, or is only a small copy of another, as in raw files."""
    tags = dict(_tags(head))
    return bool(tags.get(SUBFILE_TYPE, 0) & 1) or DNG_VERSION in tags or tags.get(PHOTOMETRIC) in SENSOR


def _tags(head: bytes) -> Iterator[tuple[int, int]]:
    """The tags of a TIFF's first directory with their values, as far as they stand in it and the head goes."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(head[:4])
    if not order or len(head) < 8:  # noqa: PLR2004
        return
    place = struct.unpack_from(f"{order}I", head, 4)[0]
    if place + 2 > len(head):  # the directory lies behind the head
        return
    (count,) = struct.unpack_from(f"{order}H", head, place)
    for entry in range(place + 2, min(place + 2 + 12 * count, len(head) - 11), 12):
        tag, kind = struct.unpack_from(f"{order}HH", head, entry)
        yield tag, struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", head, entry + 8)[0]  # noqa: PLR2004


def _is_plausible_tga(head: bytes) -> bool:
    """Whether these can be the first bytes of a TGA."""
    if len(head) < 18:  # noqa: PLR2004
        return False
    palette, kind, depth, turned = head[1], head[2], head[16], head[17]
    sides = struct.unpack_from("<HH", head, 12)
    has_palette = palette == 1 and head[7] in (15, 16, 24, 32)
    return (
        depth in TGA_DEPTHS.get(kind, ())
        and all(sides)
        and (has_palette or (palette == 0 and kind not in (1, 9)))
        and not turned & 0xC0
    )


def lacking(decoder: str) -> str:
    """What a picture is and which package it needs; empty if its decoder is ready, which this sees to."""
    if decoder not in PACKAGES:
        return ""
    what, package, module = PACKAGES[decoder]
    try:
        found = importlib.import_module(module)
    except ImportError:
        sentence = extras.lacking("reading it", [package], EXTRA).removesuffix(".")
        return f"{what}; {sentence}, or convert it to PNG or JPEG."
    if decoder == HEIF:  # a thumbnail that is stored beside a picture need not show the same
        found.register_heif_opener(thumbnails=False)
    return ""


def installed() -> list[str]:
    """Packages of the extra that are here: what can be read depends on them."""
    return [package for _, package, module in PACKAGES.values() if importlib.util.find_spec(module)]
