"""A tar archive, compressed or not, and a shard of a WebDataset.

An archive that is not compressed is read where it lies. Of one that is, nothing can be read without all before it, so
it is unpacked once into a file that has no name and that the system removes with the process.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import posixpath
import re
import tarfile
import tempfile
import threading
import weakref
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from io import BufferedReader
from pathlib import Path
from typing import IO, Protocol

from pipeline import files
from pipeline.errors import BadInput
from pipeline.plugins import extras
from pipeline.sources import archives
from pipeline.sources.base import CHUNK, Content, Facts, Fault, Item
from pipeline.sources.tables.nearby import is_picture
from pipeline.task import Task

PRIORITY = 60
BLOCK = tarfile.BLOCKSIZE
MOST_HEADER = 1 << 24
"""Bytes of an extended header, which is read into memory whole."""
MOST_ZEROS = 1 << 26
"""Bytes of zeros behind which no further member is looked for."""
ZSTD = b"\x28\xb5\x2f\xfd"
MARKS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", ZSTD)
"""How compressed files begin: gzip, bzip2, xz, Zstandard."""
DAMAGED = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, OverflowError)


@dataclass(frozen=True)
class Member:
    archive: str
    changed: int
    """Time of the archive's last change in nanoseconds."""
    start: int
    """Where its content begins, in bytes of the unpacked archive."""
    size: int
    path: Path | None = None

    def chunks(self) -> Iterator[bytes]:
        archive = _opened(self.archive, self.changed, os.getpid())
        for start in range(self.start, self.start + self.size, CHUNK):
            wanted = min(CHUNK, self.start + self.size - start)
            chunk = archive.read(start, wanted)
            if len(chunk) < wanted:
                raise BadInput(f"{self.archive} ends within a member; get it again.")
            yield chunk


def claims(path: Path) -> bool:
    try:
        with files.open_regular(path) as file:
            begins = file.read(BLOCK)
            if begins.startswith(ZSTD):
                return path.name.lower().endswith((".tar.zst", ".tzst", ".tar.zstd"))
            file.seek(0)
            return _is_header(_unpacking(file, begins).read(BLOCK))
    except DAMAGED:  # a folder; or whoever reads it says so
        return False


def items(path: Path, task: Task | None = None) -> Iterator[Item]:
    """Its regular files. Links are not followed, whatever they lead to."""
    home, changed = os.path.abspath(path), path.stat().st_mtime_ns
    if _begins_with(path, ZSTD):
        extras.require(f"the archive {path.name}", "tables")  # pyarrow reads Zstandard, as Python does from 3.14 on
    try:
        archive = _opened(home, changed, os.getpid())
        found = archive.members
    except DAMAGED as error:
        yield Item(home, "", fault=Fault("unreadable", f"{home} is a damaged tar archive: {error}."))
        return
    named = [replace(one, name=f"{one.name} ({number})") if one.replaced else one for number, one in enumerate(found)]
    groups = _groups(home, [one.name for one in named if not one.fault and not one.replaced])
    for one in named:
        where, fault = f"{home}/{one.name}", one.fault
        if one.replaced:
            fault = Fault("name", f"{where} is in {home} once more; the last one counts.")
        content = None if fault else Member(home, changed, one.start, one.size)
        yield Item(home, one.name, content, facts=groups.get(one.name, Facts()), fault=fault)
    for number, fault in enumerate(archive.faults):
        yield Item(home, f"fault {number + 1}" if number else "", fault=fault)


def beside(home: str, name: str) -> Content | None:
    changed = Path(home).stat().st_mtime_ns
    found = _opened(home, changed, os.getpid()).by_name.get(name)
    return Member(home, changed, found.start, found.size) if found else None


def _begins_with(path: Path, mark: bytes) -> bool:
    with files.open_regular(path) as file:
        return file.read(len(mark)) == mark


# ---- reading


@dataclass(frozen=True)
class _Entry:
    """One member: a file that can be read, or why it can't."""

    name: str
    start: int = 0
    size: int = 0
    fault: Fault | None = None
    replaced: bool = False
    """Whether a later member has the same name, as in an archive that was added to."""


class _Archive:
    """An archive whose members can be read in any order and by several threads."""

    def __init__(self, home: str, file: IO[bytes], faults: Sequence[Fault]) -> None:
        """
        Args:
            file: the unpacked archive.
            faults: why some of it is missing.
        """
        self.home, self._file, self.faults = home, file, [*faults]
        self._lock = threading.Lock()
        self._size = file.seek(0, os.SEEK_END)
        weakref.finalize(self, file.close)

    def read(self, start: int, size: int) -> bytes:
        with self._lock:
            self._file.seek(start)
            return self._file.read(size)

    @cached_property
    def members(self) -> list[_Entry]:
        """All members but folders, in order."""
        found: list[_Entry] = []
        for entry in self._scanned():
            found.append(entry)
            if len(found) > archives.MOST_MEMBERS:
                self.faults.append(archives.many(self.home, len(found)))
                return []
        last = {entry.name: number for number, entry in enumerate(found)}
        return [replace(one, replaced=True) if last[one.name] != number else one for number, one in enumerate(found)]

    @cached_property
    def by_name(self) -> dict[str, _Entry]:
        return {entry.name: entry for entry in self.members if not entry.fault and not entry.replaced}

    def _scanned(self) -> Iterator[_Entry]:
        watched = _Watched(self)
        archive = tarfile.TarFile(fileobj=watched, encoding="utf-8", errors="surrogateescape")
        kept: list[tarfile.TarInfo] = vars(archive)["members"]  # it would keep them all
        tried = 0  # up to here no further member has been found
        while True:
            try:
                info = archive.next()
            except DAMAGED:
                info = None
            kept.clear()
            if info is None:
                start, is_damaged = self._next_header(max(archive.offset, tried))
                if is_damaged:
                    detail = f"{self.home} is damaged from its byte {archive.offset:,} on"
                    goes_on = f", and can be read again from {start:,} on" if start is not None else ""
                    self.faults.append(Fault("unreadable", f"{detail}{goes_on}; get it again."))
                if start is None:
                    return
                archive.offset, tried = start, start + BLOCK
                watched.seek(start)
                continue
            if not info.isdir():
                yield self._entry(info)

    def _entry(self, info: tarfile.TarInfo) -> _Entry:
        name = re.sub(r"\A(?:\./+)+", "", info.name)
        where, fault = f"{self.home}/{name}", None
        if info.issym() or info.islnk():
            fault = Fault("link", f"{where} is a link to {info.linkname}; links in archives are not followed.")
        elif not info.isreg():
            fault = Fault("unreadable", f"{where} is not a regular file.")
        elif info.sparse is not None:
            fault = Fault("unreadable", f"{where} is stored with holes; unpack the archive and give the folder.")
        elif info.offset_data + info.size > self._size:
            fault = Fault("unreadable", f"{where} is cut off: the archive ends within it.")
        return _Entry(name, info.offset_data, info.size, fault or archives.large(where, info.size))

    def _next_header(self, start: int) -> tuple[int | None, bool]:
        """Where a further member begins, if there is one, and whether something damaged lies before it."""
        zeros, is_damaged = 0, False
        while chunk := self.read(start, CHUNK):
            if not chunk.strip(b"\0"):
                zeros += len(chunk)
                if zeros > MOST_ZEROS:
                    return None, is_damaged
            else:
                for place in range(0, len(chunk), BLOCK):
                    block = chunk[place : place + BLOCK]
                    if _is_header(block):
                        return start + place, is_damaged
                    is_damaged = is_damaged or bool(block.strip(b"\0"))
            start += CHUNK
        return None, is_damaged


class _Watched(io.RawIOBase):
    """An archive for `tarfile`, which asks for whole headers at once."""

    def __init__(self, archive: _Archive) -> None:
        self._archive, self._place = archive, 0

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= MOST_HEADER:
            raise tarfile.ReadError(f"a header has {size:,} bytes")
        found = self._archive.read(self._place, size)
        self._place += len(found)
        return found

    def seek(self, place: int, whence: int = os.SEEK_SET, /) -> int:
        self._place = place
        return place

    def tell(self) -> int:
        return self._place


def _is_header(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


@lru_cache(maxsize=2)
def _opened(home: str, changed: int, process: int) -> _Archive:
    """
    Args:
        process: its number, since a forked process must not share the place in the file with its parent.
    """
    file = files.open_regular(home)
    begins = file.read(BLOCK)
    file.seek(0)
    if not begins.startswith(MARKS):
        return _Archive(home, file, [])
    with file:
        return _Archive(home, *_unpacked(home, file, begins))


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...
    def read1(self, size: int, /) -> bytes: ...


def _unpacking(file: BufferedReader, begins: bytes) -> _Readable:
    """What a compressed file unpacks to; any other file as it is. The file itself is left open.

    Args:
        begins: its first bytes; the file stands at its start.
    """
    if begins.startswith(b"\x1f\x8b"):
        return gzip.open(file)
    if begins.startswith(b"BZh"):
        return bz2.open(file)
    if begins.startswith(b"\xfd7zXZ\0"):
        return lzma.open(file)
    if begins.startswith(ZSTD):
        import pyarrow

        unpacked: _Readable = pyarrow.CompressedInputStream(pyarrow.PythonFile(file, mode="r"), "zstd")
        return unpacked
    return file


def _unpacked(home: str, file: BufferedReader, begins: bytes) -> tuple[IO[bytes], list[Fault]]:
    """An unpacked copy of an archive, as far as it is sound and within bounds, and why the rest is missing."""
    allowance = archives.Allowance.of(os.fstat(file.fileno()).st_size)
    copy, faults = tempfile.TemporaryFile(), list[Fault]()  # noqa: SIM115  (it is closed with the archive)
    try:
        unpacked = _unpacking(file, begins)
        while chunk := unpacked.read1(CHUNK):  # what there is, so that nothing before a fault is lost
            if fault := allowance.take(home, len(chunk)):
                faults.append(replace(fault, detail=f"{home} unpacks to more than {allowance.most:,} bytes."))
                break
            copy.write(chunk)
    except DAMAGED as error:
        said = getattr(error, "strerror", None) or str(error)
        faults.append(Fault("unreadable", f"{home} is a damaged archive, only its beginning is read: {said}."))
    return copy, faults


# ---- WebDataset


def _groups(home: str, names: Sequence[str]) -> dict[str, Facts]:
    """What names say in a WebDataset: files are one sample whose names are the same up to the first dot.

    Where samples have several pictures (`0001.left.jpg` and `0001.right.jpg`, `0001.jpg` and `0001.png`), these are a
    group, and what follows the dot is for panels. It must be the same in several samples: other names have dots too.
    """
    samples: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for name in names:
        folder, file = posixpath.split(name)
        key, dot, rest = file.partition(".")
        if dot and is_picture(name):
            samples[posixpath.join(folder, key)].append((name, rest))
    usual = Counter(rest for pictures in samples.values() for _, rest in pictures)
    shard = re.sub(r"\.(?:tar|tgz|tbz2?|txz|tzst)\b.*", "", os.path.basename(home))
    found = {}
    for key, pictures in samples.items():
        if len(pictures) > 1 and all(usual[rest] > 1 or len(samples) == 1 for _, rest in pictures):
            for place, (name, rest) in enumerate(pictures):
                panel = rest.rpartition(".")[0] or rest
                found[name] = Facts(group=f"{shard}/{key}", panel=panel, order=float(place))
    return found
