"""Small copies of pictures for the contact sheet, kept in the run's folder."""

from __future__ import annotations

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
    for record in records:
        path = FOLDER / f"{record.id[:32]}.jpg"
        with suppress(BadInput):
            if not (folder / path).is_file():
                _write(folder / record.path, folder / path)
            found[record.id] = str(path)
    return found


def _write(source: Path, path: Path) -> None:
    """
    Raises:
        BadInput: the picture can't be opened.
    """
    picture = pixels.open_image(source, least_side=SIDE)
    picture.thumbnail((SIDE, SIDE))
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as part:
        picture.save(part, "JPEG", quality=QUALITY)
