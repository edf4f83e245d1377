"""SHA256SUMS: what a data set's files were when it was written. `sha256sum -c SHA256SUMS` checks a copy.

Files in folders are the data: grids, captions, listings, masks. Files beside these folders are configs and pages about
the data; people may edit them (some trainers have paths to be filled in), and the data set is still the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from pipeline import files
from pipeline.progress import told

FILE = "SHA256SUMS"
MOST_BYTES = 1 << 26
"""Of the list."""
READ = (".png", ".txt")
"""Endings of files that trainers take for data if they find one more of them; caches, which they write, have others."""


def write(folder: Path, names: Iterable[str], known: Mapping[str, str] = {}) -> None:
    """Writes the list of these files, given by their paths in the folder.

    Args:
        known: hashes of some, which are not read again.
    """
    hashes = {name: known.get(name) or files.digest(folder / name) for name in names}
    files.write(folder / FILE, listing(hashes))


def listing(hashes: dict[str, str]) -> str:
    """The list as `sha256sum` writes it, sorted by path."""
    return "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))


def read(folder: Path) -> dict[str, str]:
    """Hashes by path; empty if there is no list. Paths that lead out of the folder are not taken."""
    try:
        lines = files.read(folder / FILE, MOST_BYTES).decode().splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    found = {name: value for value, _, name in (line.partition("  ") for line in lines) if name}
    return {name: value for name, value in found.items() if not _leads_out(name)}


def _leads_out(name: str) -> bool:
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or "\\" in name


def digest(folder: Path) -> str:
    """Hash of the list of the data; empty if there is none."""
    data = {name: value for name, value in read(folder).items() if _is_data(name)}
    return hashlib.sha256(listing(data).encode()).hexdigest() if data else ""


def faults(folder: Path, known: str) -> list[str]:
    """What is not as it was exported, a few words for each file; nothing if the data set is whole.

    Args:
        known: the digest of the export.
    """
    if digest(folder) != known:
        return [f"{FILE} is not that of the export"]
    missing = [f"{name} is missing" for name in read(folder) if not (folder / name).is_file()]
    altered = [f"{name} was altered" for name in _altered(folder) if _is_data(name)]
    return [*missing, *altered, *(f"{name} was added" for name in _added(folder))]


def edited(folder: Path) -> list[str]:
    """Files of a data set that somebody has altered or added since it was written, those beside the data included."""
    return [*_altered(folder), *_added(folder)]


def _altered(folder: Path) -> Iterator[str]:
    listed = read(folder)
    for name, value in told(listed.items(), len(listed), f"checking the files in {folder}"):
        if (folder / name).is_file() and files.digest(folder / name) != value:
            yield name


def _added(folder: Path) -> Iterator[str]:
    listed = read(folder)
    for place in sorted({name.rpartition("/")[0] for name in listed if _is_data(name)}):
        for file in sorted((folder / place).glob("*")):
            name = f"{place}/{file.name}"
            if file.suffix in READ and name not in listed and file.is_file():
                yield name


def _is_data(name: str) -> bool:
    return "/" in name
