"""Packs a data set into one file that can be checked where it arrives."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from pipeline import files
from pipeline.dataset import checksums


def pack(folder: Path, archive: Path, name: str) -> Path:
    """Writes a tar file of the files that a data set lists; the same files give the same bytes.

    Not compressed, since PNG files are. Trainers' caches and whatever else lies in the folder stay behind. The list of
    checksums is made of the files as they are, so a config that was edited since the export is packed as edited.

    Args:
        name: of the folder that the archive unpacks to.
    """
    names = sorted(checksums.read(folder))
    sums = checksums.listing({file: files.digest(folder / file) for file in names}).encode()
    with files.replacing(archive) as part, tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as tar:
        for file in names:
            with files.open_regular(folder / file) as content:
                tar.addfile(_entry(f"{name}/{file}", (folder / file).stat().st_size), content)
        tar.addfile(_entry(f"{name}/{checksums.FILE}", len(sums)), io.BytesIO(sums))
    return archive


def _entry(path: str, size: int) -> tarfile.TarInfo:
    """Without dates, owners and rights of this machine."""
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode = size, 0o644
    return entry
