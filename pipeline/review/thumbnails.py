"""Small copies of pictures for pages; those of the contact sheet are kept in the run's folder."""

from __future__ import annotations

import io
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pipeline import files, pixels
from pipeline.errors import BadInput
from pipeline.records import Record

FOLDER = Path("thumbnails")
SIDE = 192
"""Pixels of the long side."""
QUALITY = 80


def make(records: Iterable[Record], folder: Path) -> dict[str, str]:
    """Thumbnails of these pictures, made where they are missing; one that can't be opened has none.

    Args:
        folder: the run's folder.

    Returns:
        By record id, the thumbnail's path relative to the run's folder.
    """
    found = {}
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    for record in records:
        path = FOLDER / f"{record.id[:32]}.jpg"
        with suppress(BadInput):
            if not (folder / path).is_file():
                files.write(folder / path, encode(folder / record.path))
            found[record.id] = str(path)
    return found


def of_file(folder: Path, path: str, side: int) -> bytes:
    """A picture in a run's folder as a small JPEG, which is kept there until the picture changes.

    Args:
        folder: the run's.
        path: the picture's, relative to it.
        side: of the long side, in pixels.

    Raises:
        BadInput: it can't be opened.
    """
    source = folder / path
    try:
        stem, *state = _state(source)
    except OSError as error:
        raise BadInput(f"{source} can't be opened: {error.strerror or error}.") from error
    kept = folder / FOLDER / f"{'-'.join([stem, str(side), *state])}.jpg"
    try:
        return kept.read_bytes()
    except OSError:
        content = encode(source, side)
    with suppress(OSError):  # without room for it, it is made again
        kept.parent.mkdir(parents=True, exist_ok=True)
        files.write(kept, content)
    return content


def sweep(folder: Path, made: Iterable[str], pictures: Iterable[str]) -> None:
    """Deletes small copies that no page shows any more, such as those of grids that were drawn again.

    Args:
        folder: the run's.
        made: paths that `make` gave.
        pictures: paths of the pictures of which `of_file` may be asked for, relative to the run's folder.
    """
    names, states = {Path(path).name for path in made}, set()
    for path in pictures:
        with suppress(OSError):
            states.add(_state(folder / path))
    for file in (folder / FOLDER).glob("*.jpg"):
        stem, *parts = file.stem.rsplit("-", 3)
        if file.name not in names and (stem, *parts[1:]) not in states:
            with suppress(OSError):
                file.unlink()


def _state(picture: Path) -> tuple[str, str, str]:
    """A picture's name, size and time of its last change, as they stand in the names of its small copies."""
    found = picture.stat()
    return picture.stem, f"{found.st_size:x}", f"{found.st_mtime_ns:x}"


def encode(source: Path, side: int = SIDE) -> bytes:
    """A picture as a small JPEG, its long side with so many pixels.

    Raises:
        BadInput: it can't be opened.
    """
    picture, written = pixels.open_image(source, least_side=side), io.BytesIO()
    picture.thumbnail((side, side))
    picture.save(written, "JPEG", quality=QUALITY)
    return written.getvalue()
