"""Files that strangers made: only regular ones are opened, whatever links lead to them, and none beyond its limit."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path


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
    if os.path.isdir(path):
        return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    return OSError(errno.EINVAL, "it is not a regular file", path)
