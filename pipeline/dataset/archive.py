"""Packs a data set into one file that can be checked where it arrives."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

from pipeline import files
from pipeline.dataset import checksums
from pipeline.errors import BadInput


def pack(folder: Path, archive: Path, name: str) -> Path:
    """Writes a tar file of the files that a data set lists; the same files give the same bytes.

    Not compressed, since PNG files are. Trainers' caches and whatever else lies in the folder stay behind. The list of
    checksums is made of the files as they are, so a config that was edited since the export is packed as edited.

    Args:
        name: of the folder that the archive unpacks to.

    Raises:
        BadInput: the data set was written anew meanwhile; an earlier archive stays.
    """
    listed, hashes = checksums.read(folder), dict[str, str]()
    with files.replacing(archive) as part, tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as tar:
        for file in sorted(listed):
            with files.open_regular(folder / file) as content:
                hashes[file] = hashlib.file_digest(content, "sha256").hexdigest()
                size = content.tell()
                content.seek(0)
                tar.addfile(_entry(f"{name}/{file}", size), content)
        sums = checksums.listing(hashes).encode()
        tar.addfile(_entry(f"{name}/{checksums.FILE}", len(sums)), io.BytesIO(sums))
        if checksums.read(folder) != listed:
            raise BadInput(f"the data set in {folder} was written anew while it was being packed; type the same again.")
    return archive


def _entry(path: str, size: int) -> tarfile.TarInfo:
    """Without dates, owners and rights of this machine."""
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode = size, 0o644
    return entry
