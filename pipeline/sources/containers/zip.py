"""A ZIP archive."""

from __future__ import annotations

import io
import lzma
import os
import struct
import weakref
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pipeline import files
from pipeline.errors import BadInput
from pipeline.sources import archives
from pipeline.sources.base import CHUNK, Content, Fault, Item
from pipeline.task import Task

PRIORITY = 60  # after tables, since a workbook is a ZIP archive too
MOST_CONTENTS = 1 << 27
"""Bytes of the table of contents, which is read into memory whole."""
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, ValueError, RuntimeError)
"""What `zipfile` raises on damage, encryption, and compression that it does not know."""


@dataclass(frozen=True)
class Member:
    archive: str
    changed: int
    """Time of the archive's last change in nanoseconds."""
    number: int
    """Place in the archive's table of contents: names may occur twice."""
    checksum: int
    path: Path | None = None

    def chunks(self) -> Iterator[bytes]:
        archive = _opened(self.archive, self.changed, os.getpid())
        info = archive.infolist()[self.number]
        try:
            with archive.open(info) as file:
                while chunk := file.read(CHUNK):
                    yield chunk
        except DAMAGED as error:
            raise BadInput(f"{self.archive}/{info.filename} is damaged: {error}.") from error


@lru_cache(maxsize=4)
def _opened(archive: str, changed: int, process: int) -> zipfile.ZipFile:
    """The archive with its table of contents, which is read once in each process; several threads may read members.

    Args:
        process: its number, since a forked process must not share the place in the file with its parent.
    """
    file = _Watched(files.open_regular(archive).detach())
    try:
        found = zipfile.ZipFile(file)
    except BaseException:
        file.close()
        raise
    weakref.finalize(found, file.close)  # it closes only what it has opened itself
    return found


class _Watched(io.BufferedReader):
    """An archive's file. `zipfile` reads all but the table of contents in small pieces."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MOST_CONTENTS:
            raise zipfile.BadZipFile(f"its table of contents has {size:,} bytes, more than {MOST_CONTENTS:,}")
        return super().read(size)


@lru_cache(maxsize=4)
def _usable(archive: str, changed: int, process: int) -> dict[str, int]:
    """Places of members by their names; of those of one name the first."""
    members = reversed([*enumerate(_opened(archive, changed, process).infolist())])
    return {_name(info): number for number, info in members if not _fault(info, "")}


def _name(info: zipfile.ZipInfo) -> str:
    return info.filename.replace("\\", "/")  # which some programs on Windows write in spite of the standard


def _member(archive: str, changed: int, number: int) -> Member:
    return Member(archive, changed, number, _opened(archive, changed, os.getpid()).infolist()[number].CRC)


def claims(path: Path) -> bool:
    try:
        with files.open_regular(path) as file:
            return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    except OSError:  # a folder; or whoever reads it says so
        return False


def items(path: Path, task: Task | None = None) -> Iterator[Item]:
    home, changed = os.path.abspath(path), path.stat().st_mtime_ns
    try:
        members = _opened(home, changed, os.getpid()).infolist()
    except (*DAMAGED, OSError) as error:
        yield Item(home, "", fault=Fault("unreadable", f"{home} is a damaged ZIP archive: {error}."))
        return
    if len(members) > archives.MOST_MEMBERS:
        yield Item(home, "", fault=archives.many(home, len(members)))
        return
    allowance = archives.Allowance.of(path.stat().st_size)
    for number, info in enumerate(members):
        if not _name(info).endswith("/"):  # a folder
            where = f"{home}/{_name(info)}"
            fault = _fault(info, where) or allowance.take(where, info.file_size)
            content = None if fault else _member(home, changed, number)
            yield Item(home, _name(info), content, fault=fault)


def beside(home: str, name: str) -> Content | None:
    changed = Path(home).stat().st_mtime_ns
    number = _usable(home, changed, os.getpid()).get(name)
    return None if number is None else _member(home, changed, number)


def _fault(info: zipfile.ZipInfo, where: str) -> Fault | None:
    if info.flag_bits & 1:
        return Fault("encrypted", f"{where} is encrypted; unpack the archive with its password and give the folder.")
    return archives.large(where, info.file_size, info.compress_size)
