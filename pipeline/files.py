"""Files: of strangers' only regular ones are read, and none beyond its limit; ours are written whole or not at all."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import re
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path

# ---- reading, whatever a link leads to


def open_regular(path: str | Path, most: int | None = None) -> BufferedReader:
    """Opens a regular file for reading. Nothing is ever waited for.

    A pipe may never have a writer, a device may have no end, and opening one may already set something off.

    Args:
        most: how many bytes it may have; any number if None.

    Raises:
        OSError: it can't be opened, is not a regular file, or is larger; `strerror` says which.
    """
    try:
        file = open(path, "rb", opener=_regular)  # noqa: SIM115
    except ValueError as error:  # a name with a NUL
        raise OSError(errno.EINVAL, "no file can have this name", str(path)) from error
    size = os.fstat(file.fileno()).st_size
    if most is not None and size > most:
        file.close()
        raise too_large(path, size, most)
    return file


def read(path: str | Path, most: int) -> bytes:
    """The content of a regular file.

    Args:
        most: how many bytes it may have.

    Raises:
        OSError: as for `open_regular`.
    """
    with open_regular(path, most) as file:
        content = file.read(most + 1)
    if len(content) > most:  # it has grown, or the system doesn't know its size (/proc)
        raise too_large(path, len(content), most)
    return content


def digest(path: str | Path, most: int | None = None) -> str:
    """SHA-256 of the content of a regular file, which is not read at once.

    Args:
        most: how many bytes it may have; any number if None.

    Raises:
        OSError: as for `open_regular`.
    """
    with open_regular(path, most) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def too_large(path: str | Path, size: int, most: int) -> OSError:
    """The error for a file of more bytes than its kind may have."""
    return OSError(errno.EFBIG, f"it has {size:,} bytes, more than {most:,}", str(path))


def _regular(path: str, flags: int) -> int:
    """What `open` opens a file with. It is looked at before, since opening a device may change it, and once more
    when it is open, since another file may have taken its place."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise _irregular(path)
    # Neither flag changes anything for a regular file; Windows lacks both.
    opened = os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise _irregular(path)
    return opened


def _irregular(path: str) -> OSError:
    return OSError(errno.EINVAL, "it is not a regular file", path)


# ---- writing, on the disk before another file is replaced


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives the path of a new file to write, which then takes the place of the one at `path`.

    Its content is on the disk before it gets its name: a kill or a power failure leaves either the old file or the
    whole new one. Processes and threads that write the same file at once don't disturb each other.

    Raises:
        OSError: it can't be written, with `path` as the file's name; the old file stays.
    """
    _drop_leftovers(path)
    part = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        yield part
        settle(part, path)
    except OSError as error:
        if error.filename in (None, str(part)):
            error.filename = str(path)
        raise
    finally:
        part.unlink(missing_ok=True)


def _drop_leftovers(path: Path) -> None:
    """Removes what processes that were killed have left of the same file."""
    if os.name != "posix":  # elsewhere, nothing says whether a process still runs
        return
    for part in path.parent.glob(f"{glob.escape(path.name)}.*-*.part"):
        writer = part.name.removeprefix(f"{path.name}.").partition("-")[0]
        if writer.isdecimal() and not is_running(int(writer)):
            part.unlink(missing_ok=True)


def is_running(process: int) -> bool:
    """Whether this machine has a process of this number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def settle(part: Path, path: Path) -> None:
    """Gives a file that is complete its name, once its content is on the disk."""
    _sync(part)
    part.replace(path)
    sync_names(path.parent)


def write(path: Path, content: str | bytes) -> None:
    """Writes a file whole or not at all; text as UTF-8, with its line breaks as they are."""
    with replacing(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def anew(path: Path) -> Path:
    """A path that a file is written to at once: the old one goes first, since a merged run may share it by a link."""
    path.unlink(missing_ok=True)
    return path


def share(path: Path, other: Path) -> None:
    """Gives a file a second name, or a copy where the file system has no links.

    Shared files are write-protected, since a program that writes in place would change both. Ours replace files.
    """
    if os.name == "posix" and not path.is_symlink():  # Windows deletes no write-protected file
        with suppress(OSError):
            os.link(path, other)
            other.chmod(0o444)
            return
        other.unlink(missing_ok=True)
    shutil.copyfile(path, other)


def sync_folder(folder: Path) -> None:
    """Waits until a folder is on the disk, with all that is in it."""
    for place, _, names in os.walk(folder):
        for name in names:
            _sync(Path(place, name))
        sync_names(Path(place))


def sync_names(folder: Path) -> None:
    """Waits until the names in a folder are on the disk, where the system can do that: Windows opens no folders."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _sync(file: Path) -> None:
    """Waits until a file's content is on the disk."""
    handle = os.open(file, os.O_RDONLY if os.name == "posix" else os.O_RDWR)  # it may be write-protected
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# ---- names


def natural(text: str) -> list[tuple[int, int | str]]:
    """Sort key that reads digits as numbers."""
    parts = re.split(r"(\d+)", text.casefold())
    return [(1, int(part)) if part.isdecimal() else (0, part) for part in parts]
