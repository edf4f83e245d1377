"""How files are written: under another name first, and on the disk before they take the place of others."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives the path of a new file to write, which then takes the place of the one at `path`.

    Its content is on the disk before it gets its name: a kill or a power failure leaves either the old file or the
    whole new one. Processes and threads that write the same file at once don't disturb each other.

    Raises:
        OSError: it can't be written, with `path` as the file's name; the old file stays.
    """
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


def settle(part: Path, path: Path) -> None:
    """Gives a file that is complete its name, once its content is on the disk."""
    _sync(part)
    part.replace(path)
    sync_names(path.parent)


def write(path: Path, content: str | bytes) -> None:
    """Writes a file whole or not at all; text as UTF-8, with its line breaks as they are."""
    with replacing(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


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
    handle = os.open(file, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
