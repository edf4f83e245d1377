"""What a file is by its first bytes, whatever it is called."""

from __future__ import annotations

import struct
from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """A file format. `kind` is "picture" or "film"; it is empty for what the toolkit's own readers do not read."""

    name: str
    """With its article, as in "a ZIP archive"."""
    kind: str = ""
    remedy: str = ""
    """What a person can do about it; empty where it can be read or nothing helps."""


CONVERT, OPEN_IT = "convert it to PNG or JPEG", "name it as a source of its own, or unpack it"
HEIC = Format("a HEIC picture", remedy=CONVERT)
RAW = Format("a camera's raw picture", remedy=CONVERT)
TEXT, UNKNOWN = Format("a text file"), Format("of an unknown format")
AVIF, MP4 = Format("an AVIF picture", "picture"), Format("an MP4 or QuickTime film", "film")
TRANSPORT = Format("an MPEG transport stream", "film")

JPEG, PNG = Format("a JPEG picture", "picture"), Format("a PNG picture", "picture")
GIF, TIFF = Format("a GIF picture", "picture"), Format("a TIFF picture", "picture")

MARKS: tuple[tuple[Format, dict[int, bytes]], ...] = (
    (JPEG, {0: b"\xff\xd8\xff"}),
    (PNG, {0: b"\x89PNG\r\n\x1a\n"}),
    (Format("a WebP picture", "picture"), {0: b"RIFF", 8: b"WEBP"}),
    (GIF, {0: b"GIF87a"}),
    (GIF, {0: b"GIF89a"}),
    (RAW, {0: b"II*\0", 8: b"CR"}),  # Canon's CR2
    (TIFF, {0: b"II*\0"}),
    (TIFF, {0: b"MM\0*"}),
    (TIFF, {0: b"II+\0"}),  # BigTIFF
    (TIFF, {0: b"MM\0+"}),
    (Format("an AVI film", "film"), {0: b"RIFF", 8: b"AVI "}),
    (Format("a Matroska or WebM film", "film"), {0: b"\x1aE\xdf\xa3"}),
    (Format("an MPEG film", "film"), {0: b"\x00\x00\x01\xba"}),
    (Format("an MPEG film", "film"), {0: b"\x00\x00\x01\xb3"}),
    (Format("an Ogg film", "film"), {0: b"OggS"}),
    (Format("a Flash film", "film"), {0: b"FLV"}),
    (Format("a Windows Media film", "film"), {0: b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"}),
    (Format("an MXF film", "film"), {0: b"\x06\x0e\x2b\x34"}),
    (Format("a DV film", "film"), {0: b"\x1f\x07\x00"}),
    (Format("a RealMedia film", "film"), {0: b".RMF"}),
    (Format("an IVF film", "film"), {0: b"DKIF"}),
    (Format("a YUV4MPEG film", "film"), {0: b"YUV4MPEG2 "}),
    (Format("a ZIP archive", remedy=OPEN_IT), {0: b"PK\x03\x04"}),
    (Format("an empty ZIP archive"), {0: b"PK\x05\x06"}),
    (Format("a tar archive", remedy="unpack it"), {257: b"ustar"}),
    (Format("a gzip file", remedy="unpack it"), {0: b"\x1f\x8b"}),
    (Format("a 7z archive", remedy="unpack it"), {0: b"7z\xbc\xaf\x27\x1c"}),
    (Format("a RAR archive", remedy="unpack it"), {0: b"Rar!\x1a\x07"}),
    (Format("a Parquet table"), {0: b"PAR1"}),
    (Format("a PDF"), {0: b"%PDF-"}),
    (Format("a PostScript file", remedy=CONVERT), {0: b"%!PS"}),
    (Format("a Photoshop picture", remedy=CONVERT), {0: b"8BPS"}),
    (Format("a JPEG XL picture", remedy=CONVERT), {0: b"\xff\x0a"}),
    (Format("a JPEG XL picture", remedy=CONVERT), {4: b"JXL \r\n\x87\n"}),
    (Format("a JPEG 2000 picture", remedy=CONVERT), {4: b"jP  \r\n\x87\n"}),
)
"""Formats with their bytes at given offsets; the first that matches whole wins."""
QUICKTIME = {b"moov", b"mdat", b"wide", b"skip", b"free", b"pnot", b"styp", b"sidx", b"moof"}
"""First boxes of QuickTime films from before these had a mark of their own, and of fragments of streams."""
HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis"}
BITMAP_HEADERS = {12, 40, 52, 56, 64, 108, 124}
"""Sizes that the second header of a BMP may have; "BM" alone could begin a text."""
SUBFILE_TYPE = 254
"""TIFF's tag with the lowest number: bit 0 is set for a smaller copy of another picture in the file."""


def format_of(head: bytes) -> Format:
    """The format of a file.

    Args:
        head: its first bytes, 512 or all of a shorter one.
    """
    if head[4:8] == b"ftyp":
        return _boxed(head)
    if head[4:8] in QUICKTIME:
        return MP4
    for found, marks in MARKS:
        if all(head.startswith(mark, place) for place, mark in marks.items()):
            return RAW if found is TIFF and _is_preview(head) else found
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in BITMAP_HEADERS:
        return Format("a BMP picture", "picture")
    if any(head[start : start + step * 2 + 1 : step] == b"GGG" for start, step in ((0, 188), (4, 192))):
        return TRANSPORT
    return TEXT if _is_text(head) else UNKNOWN


def _boxed(head: bytes) -> Format:
    """Of the MP4 family, by its first brand; where that is a general one of HEIF, the others say whether it is AVIF."""
    if head[8:12] not in HEIF_BRANDS:
        return MP4
    end = min(int.from_bytes(head[:4]), len(head))
    brands = {head[8:12], *(head[place : place + 4] for place in range(16, end, 4))}
    return AVIF if brands & {b"avif", b"avis"} else HEIC


def _is_preview(head: bytes) -> bool:
    """Whether a TIFF's first picture is only a small copy of another, as in raw files of cameras (DNG, NEF, ARW)."""
    order = "<" if head[:2] == b"II" else ">"
    try:
        first = struct.unpack_from(f"{order}I", head, 4)[0] + 2
        tag, _, _, value = struct.unpack_from(f"{order}HHII", head, first)
    except struct.error:  # the directory lies behind the head
        return False
    return tag == SUBFILE_TYPE and bool(value & 1)


def _is_text(head: bytes) -> bool:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    if not head or b"\0" in head:
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4  # the head ends within a letter of several bytes
    return True
