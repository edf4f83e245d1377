"""What holds for archives of every kind: how much they may unpack to, and what they are refused for."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.sources.base import Fault

MOST_MEMBERS = 1_000_000
MOST_BYTES = 1 << 38
"""Bytes of one member, 256 GiB."""
MOST_RATIO, BOMB_BYTES = 100, 1 << 28
"""A member of more than so many bytes that was compressed more than so many times is neither a picture nor a film.
Nor are all members together: they may be small and many, or have their packed bytes in common."""


def many(home: str, count: int) -> Fault:
    """Why an archive with more than `MOST_MEMBERS` members is not read."""
    return Fault("too large", f"{home} has {count:,} members, more than {MOST_MEMBERS:,}; split it.")


def large(where: str, size: int, packed: int | None = None) -> Fault | None:
    """Why a member is not unpacked; None if it may be.

    Args:
        where: its address.
        size: bytes that it unpacks to.
        packed: bytes that it has in the archive; None where it has no packed size of its own.
    """
    if size > MOST_BYTES:
        return Fault("too large", f"{where} has {size:,} bytes, more than {MOST_BYTES:,}.")
    if packed is not None and size > BOMB_BYTES and size > MOST_RATIO * packed:
        ratio = size / max(packed, 1)
        return Fault("too large", f"{where} unpacks to {size:,} bytes, {ratio:,.0f} times its packed size.")
    return None


@dataclass
class Allowance:
    """How much the members of an archive may unpack to together."""

    most: int
    unpacked: int = 0

    @classmethod
    def of(cls, packed: int) -> Allowance:
        """
        Args:
            packed: bytes of the whole archive.
        """
        return cls(max(BOMB_BYTES, MOST_RATIO * packed))

    def take(self, where: str, size: int) -> Fault | None:
        """Counts a member; why it is not unpacked if it is too much with those before it."""
        self.unpacked += size
        if self.unpacked <= self.most:
            return None
        return Fault("too large", f"{where} and the members before it unpack to {self.unpacked:,} bytes.")
