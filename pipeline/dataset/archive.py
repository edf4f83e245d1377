"""Packs a data set into one file: one that can be checked where it arrives, or one that a service trains on."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pipeline import files, plugins
from pipeline.dataset import checksums
from pipeline.dataset.samples import Dataset, Sample
from pipeline.errors import BadInput
from pipeline.progress import Progress, silent

PACK = "pack"
"""What is being worked on, as `Progress` is told."""


def pack(folder: Path, archive: Path, name: str, progress: Progress = silent) -> Path:
    """Writes a tar file of the files that a data set lists; the same files give the same bytes.

    Not compressed, since PNG files are. Trainers' caches and whatever else lies in the folder stay behind. The list of
    checksums is made of the files as they are, so a config that was edited since the export is packed as edited.

    Args:
        name: of the folder that the archive unpacks to.
        progress: told of every file.

    Raises:
        BadInput: the data set was written anew meanwhile; an earlier archive stays.
    """
    listed, hashes = checksums.read(folder), dict[str, str]()
    with files.replacing(archive) as part, tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as tar:
        for done, file in enumerate(sorted(listed), start=1):
            with files.open_regular(folder / file) as content:
                hashes[file] = hashlib.file_digest(content, "sha256").hexdigest()
                size = content.tell()
                content.seek(0)
                tar.addfile(_entry(f"{name}/{file}", size), content)
            progress(PACK, done, len(listed))
        sums = checksums.listing(hashes).encode()
        tar.addfile(_entry(f"{name}/{checksums.FILE}", len(sums)), io.BytesIO(sums))
        _check_unchanged(folder, listed)
    return archive


def _check_unchanged(folder: Path, listed: Mapping[str, str]) -> None:
    """
    Raises:
        BadInput: the list of checksums is another than before.
    """
    if checksums.read(folder) != listed:
        raise BadInput(f"the data set in {folder} was written anew while it was being packed; type the same again.")


def _entry(path: str, size: int) -> tarfile.TarInfo:
    """Without dates, owners and rights of this machine."""
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode = size, 0o644
    return entry


# ---- for services that train


def pack_for(service: str, data: Dataset, folder: Path, archive: Path, progress: Progress = silent) -> Path:
    """Writes a ZIP file of the training side by the names that a service asks for; the same data gives the same bytes.

    Args:
        service: one of SERVICES.
        folder: the data set's.
        progress: told of every sample.

    Raises:
        BadInput: there is no such service, it takes fewer reference images, or the data set was written anew meanwhile;
            an earlier archive stays.
    """
    if service not in SERVICES:
        known = ", ".join(SERVICES)
        raise BadInput(f"nothing is known of '{service}'{plugins.suggest(service, list(SERVICES))} (known: {known}).")
    names, listed = SERVICES[service](data), checksums.read(folder)
    with files.replacing(archive) as part, zipfile.ZipFile(part, "w") as packed:  # not compressed, since PNG files are
        for done, sample in enumerate(data.train, start=1):
            for name, file in names(sample):
                packed.writestr(zipfile.ZipInfo(name), (folder / file).read_bytes())
            progress(PACK, done, len(data.train))
        _check_unchanged(folder, listed)
    return archive


Names = Callable[[Sample], Iterator[tuple[str, str]]]
"""The files of a sample, each with its name in the archive."""


def _for_civitai(data: Dataset) -> Names:
    """`main/0001.png` with its caption, and reference images of its name in `control_1/` to `control_3/`; without
    reference images no folders."""

    def names(sample: Sample) -> Iterator[tuple[str, str]]:
        home = "main/" if data.most_references else ""
        yield f"{home}{sample.stem}.png", sample.file
        yield f"{home}{sample.stem}.txt", _caption(sample)
        yield from ((file, file) for file in sample.references)

    return names


def _for_fal(data: Dataset) -> Names:
    """`0001_start.png`, the reference image, `0001_end.png` and `0001.txt`; without reference images `0001.png`.

    Raises:
        BadInput: a sample has several reference images.
    """
    if data.most_references > 1:
        raise BadInput(
            f"fal takes one reference image, and this data set has up to {data.most_references}; export it with "
            "--set export.references=1."
        )

    def names(sample: Sample) -> Iterator[tuple[str, str]]:
        yield from ((f"{sample.stem}_start.png", file) for file in sample.references)
        yield f"{sample.stem}_end.png" if sample.references else f"{sample.stem}.png", sample.file
        yield f"{sample.stem}.txt", _caption(sample)

    return names


def _caption(sample: Sample) -> str:
    return Path(sample.file).with_suffix(".txt").as_posix()


SERVICES: Mapping[str, Callable[[Dataset], Names]] = {"civitai": _for_civitai, "fal": _for_fal}
"""What services that train LoRAs ask for, by name."""
