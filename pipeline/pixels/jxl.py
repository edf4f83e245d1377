"""The header of a JPEG XL picture (ISO/IEC 18181-1, annex D): pillow-jxl-plugin decodes a picture to tell its size."""

from __future__ import annotations

from typing import IO

CONTAINER = b"\0\0\0\x0cJXL "
MOST_BOXES = 1_000
"""Boxes of a container before the one with the picture."""
MOST_EXTRA = 4
"""Channels besides the colours, alpha among them; each is held in 32 bits per pixel."""
RATIOS = (None, (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
"""Of width to height, by their number in the header."""


class _Bits:
    """Reads numbers from the lowest bits up."""

    def __init__(self, content: bytes) -> None:
        self.value, self.left = int.from_bytes(content, "little"), 8 * len(content)

    def take(self, count: int) -> int:
        if count > self.left:
            raise ValueError("its header is cut off")
        found = self.value & ((1 << count) - 1)
        self.value, self.left = self.value >> count, self.left - count
        return found

    def choose(self, *choices: tuple[int, int]) -> int:
        """A number in one of four forms: an offset, and the bits of what is added to it."""
        offset, count = choices[self.take(2)]
        return offset + self.take(count)


def check(file: IO[bytes], most: int) -> None:
    """
    Args:
        most: pixels that a picture may have.

    Raises:
        ValueError: it is no JPEG XL picture, or has more pixels or channels than are decoded.
    """
    bits = _Bits(_codestream(file))
    if bits.take(16) != 0x0AFF:  # noqa: PLR2004
        raise ValueError("its header is damaged")
    width, height = _size(bits)
    if width * height > most:
        raise ValueError(f"it has {width} x {height} pixels, more than {most:,}")
    if (extra := _extra_channels(bits)) > MOST_EXTRA:
        raise ValueError(f"it has {extra:,} channels besides its colours, more than {MOST_EXTRA}")


def _codestream(file: IO[bytes]) -> bytes:
    """The first bytes of the picture itself."""
    file.seek(0)
    found, place = file.read(64), 0
    if not found.startswith(CONTAINER):
        return found
    for _ in range(MOST_BOXES):
        file.seek(place)
        head = file.read(16)
        length, kind, start = int.from_bytes(head[:4]), head[4:8], place + 8
        if length == 1:
            length, start = int.from_bytes(head[8:16]), place + 16
        if kind in (b"jxlc", b"jxlp"):
            file.seek(start + (4 if kind == b"jxlp" else 0))  # a part begins with its number
            return file.read(64)
        if length < 8:  # noqa: PLR2004
            break
        place += length
    raise ValueError("its header is damaged")


def _size(bits: _Bits) -> tuple[int, int]:
    """Width and height, before the picture is turned upright."""
    small = bits.take(1)

    def side() -> int:
        return 8 * (bits.take(5) + 1) if small else 1 + bits.choose((0, 9), (0, 13), (0, 18), (0, 30))

    height, ratio = side(), RATIOS[bits.take(3)]
    return (height * ratio[0] // ratio[1] if ratio else side()), height


def _extra_channels(bits: _Bits) -> int:
    if bits.take(1):  # all as usual
        return 0
    if bits.take(1):
        bits.take(3)  # orientation
        if bits.take(1):
            _size(bits)  # as it should be shown
        if bits.take(1):
            _skip_preview(bits)
        if bits.take(1):  # an animation: ticks a second, loops, time codes
            bits.choose((100, 0), (1000, 0), (1, 10), (1, 30))
            bits.choose((1, 0), (1001, 0), (1, 8), (1, 10))
            bits.choose((0, 0), (0, 3), (0, 16), (0, 32))
            bits.take(1)
    if bits.take(1):  # floating point
        bits.choose((32, 0), (16, 0), (24, 0), (1, 6))
        bits.take(4)
    else:
        bits.choose((8, 0), (10, 0), (12, 0), (1, 6))
    bits.take(1)  # whether 16 bits are enough for what is decoded
    return bits.choose((0, 0), (1, 0), (2, 4), (1, 12))


def _skip_preview(bits: _Bits) -> None:
    small = bits.take(1)

    def side() -> None:
        if small:
            bits.choose((16, 0), (32, 0), (1, 5), (33, 9))
        else:
            bits.choose((1, 6), (65, 8), (321, 10), (1345, 12))

    side()
    if not bits.take(3):
        side()
