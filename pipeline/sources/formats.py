"""What a file is by its first bytes, whatever it is called."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.pixels import formats
from pipeline.pixels.formats import PACKAGES


@dataclass(frozen=True)
class Format:
    """A file format. `kind` is "picture", "film" or "document"; it is empty for what no reader of the toolkit reads."""

    name: str
    """With its article, as in "a ZIP archive"."""
    kind: str = ""
    remedy: str = ""
    """What a person can do about it; empty where it can be read or nothing helps."""


CONVERT, OPEN_IT = "convert it to PNG or JPEG", "name it as a source of its own, or unpack it"
HEIC, JXL, RAW = (Format(PACKAGES[decoder][0], "picture") for decoder in (formats.HEIF, formats.JXL, formats.RAW))
TGA = Format("a TGA picture", "picture")
DECODED = {formats.HEIF: HEIC, formats.JXL: JXL, formats.RAW: RAW, formats.TGA: TGA}
TEXT, UNKNOWN = Format("a text file"), Format("of an unknown format")
PDF = Format("a PDF", "document")
AVIF, MP4 = Format("an AVIF picture", "picture"), Format("an MP4 or QuickTime film", "film")
TRANSPORT = Format("an MPEG transport stream", "film")

JPEG, PNG = Format("a JPEG picture", "picture"), Format("a PNG picture", "picture")
JPEG_2000, PNM = Format("a JPEG 2000 picture", "picture"), Format("a PNM picture", "picture")
GIF, TIFF = Format("a GIF picture", "picture"), Format("a TIFF picture", "picture")

MARKS: tuple[tuple[Format, dict[int, bytes]], ...] = (
    (JPEG, {0: b"\xff\xd8\xff"}),
    (PNG, {0: b"\x89PNG\r\n\x1a\n"}),
    (Format("a WebP picture", "picture"), {0: b"RIFF", 8: b"WEBP"}),
    (GIF, {0: b"GIF87a"}),
    (GIF, {0: b"GIF89a"}),
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
    (Format("a tar archive", remedy=OPEN_IT), {257: b"ustar"}),
    (Format("a gzip file", remedy="unpack it, or name a .tar.gz as a source of its own"), {0: b"\x1f\x8b"}),
    (Format("a 7z archive", remedy="unpack it"), {0: b"7z\xbc\xaf\x27\x1c"}),
    (Format("a RAR archive", remedy="unpack it"), {0: b"Rar!\x1a\x07"}),
    (Format("a Parquet table", remedy="name it as a source of its own"), {0: b"PAR1"}),
    (PDF, {0: b"%PDF-"}),
    (Format("a PostScript file", remedy=CONVERT), {0: b"%!PS"}),
    (Format("a large Photoshop picture (PSB)", remedy=CONVERT), {0: b"8BPS\0\2"}),
    (Format("a Photoshop picture", "picture"), {0: b"8BPS"}),
    (Format("a DDS picture", "picture"), {0: b"DDS "}),
    (JPEG_2000, {4: b"jP  \r\n\x87\n"}),
    (JPEG_2000, {0: b"\xff\x4f\xff\x51"}),
    *((PNM, {0: b"P" + kind + end}) for kind in (b"4", b"5", b"6") for end in (b"\n", b"\r", b" ", b"\t")),
    (Format("an OpenEXR picture", remedy=CONVERT), {0: b"\x76\x2f\x31\x01"}),
    (Format("a Radiance HDR picture", remedy=CONVERT), {0: b"#?RADIANCE"}),
    (Format("a Radiance HDR picture", remedy=CONVERT), {0: b"#?RGBE"}),
    (Format("a JPEG XR picture", remedy=CONVERT), {0: b"II\xbc"}),
    (Format("a GIMP picture", remedy=CONVERT), {0: b"gimp xcf"}),
    (Format("a QOI picture", remedy=CONVERT), {0: b"qoif"}),
    (Format("an icon", remedy=CONVERT), {0: b"\0\0\1\0"}),
    (Format("an icon", remedy=CONVERT), {0: b"icns"}),
    (Format("a DICOM picture", remedy=CONVERT), {128: b"DICM"}),
    (Format("a FITS picture", remedy=CONVERT), {0: b"SIMPLE  ="}),
    (Format("a Windows metafile", remedy=CONVERT), {0: b"\xd7\xcd\xc6\x9a"}),
    (Format("a DjVu document", remedy=CONVERT), {0: b"AT&TFORM"}),
)
"""Formats with their bytes at given offsets; the first that matches whole wins."""
QUICKTIME = {b"moov", b"mdat", b"wide", b"skip", b"free", b"pnot", b"styp", b"sidx", b"moof"}
"""First boxes of QuickTime films from before these had a mark of their own, and of fragments of streams."""
BITMAP_HEADERS = {12, 40, 52, 56, 64, 108, 124}
"""Sizes that the second header of a BMP may have; "BM" alone could begin a text."""


def format_of(head: bytes, name: str = "") -> Format:
    """The format of a file.

    Args:
        head: its first bytes, 512 or all of a shorter one.
        name: of the file; it decides nothing but whether what could be a TGA, which has no mark, is one.
    """
    if decoder := formats.decoder_of(head, name):
        return DECODED[decoder]
    if head[4:8] == b"ftyp" or head[4:8] in QUICKTIME:
        return AVIF if formats.brands_of(head) & formats.AVIF_BRANDS else MP4
    for found, marks in MARKS:
        if all(head.startswith(mark, place) for place, mark in marks.items()):
            return found
    if any(head[start : start + step * 2 + 1 : step] == b"GGG" for start, step in ((0, 188), (4, 192))):
        return TRANSPORT
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in BITMAP_HEADERS:
        return Format("a BMP picture", "picture")
    return TEXT if _is_text(head) else UNKNOWN


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
