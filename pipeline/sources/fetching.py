"""Files on the web: fetched once into the run's folder, and why those that failed did."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline import files
from pipeline.errors import BadInput
from pipeline.plugins import extras
from pipeline.progress import Progress, silent
from pipeline.sources.base import CHUNK, Fault, Item
from pipeline.task import UrlsSection

HOME = Path("collected") / "fetched"
"""Where the run's folder keeps fetched files, each named by the hash of its address."""
MOST_OF_FAILURE = 1 << 16
"""Bytes of the file that says why an address failed."""


@dataclass(frozen=True)
class Address:
    """Content of an item: a file on the web. `settled` puts the fetched file in its place."""

    url: str
    path: Path | None = None

    def chunks(self) -> Iterator[bytes]:
        raise BadInput(f"{self.url} has not been fetched yet.")

    @property
    def file(self) -> Path:
        """Where its content is kept, relative to the run's folder."""
        return HOME / hashlib.sha256(self.url.encode(errors="replace")).hexdigest()


@dataclass(frozen=True)
class Fetched:
    """A file that was fetched."""

    folder: Path
    path: Path
    """Relative to `folder`, the run's."""

    def chunks(self) -> Iterator[bytes]:
        with files.open_regular(self.folder / self.path) as file:
            while chunk := file.read(CHUNK):
                yield chunk


@dataclass(frozen=True)
class Failure:
    """Why an address has not been fetched."""

    reason: str
    detail: str
    again: bool
    """Whether it may be otherwise the next time; then the next run asks again."""
    limits: str
    """The settings at that time: with others it may be otherwise too."""


def name_of(url: str) -> str:
    """A name for an address as a file has one, without the scheme; empty if the address is not valid. Sites have
    folders as disks have, and the query comes before the ending, which so stays one."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f" {parts.port}" if parts.port else ""
    except ValueError:
        return ""
    folders = [unquote(part).replace("/", "%2F") for part in parts.path.split("/")]
    names = [part.replace("\0", "%00") for part in folders if part not in ("", ".", "..")] or ["index"]
    stem, dot, ending = names[-1].rpartition(".")
    query = f" {parts.query.replace('/', '%2F')}" if parts.query else ""
    names[-1] = f"{stem}{query}.{ending}" if dot and stem else f"{names[-1]}{query}"
    return "/".join([f"{host}{port}", *names]) if host else ""


def addresses_of(items: Iterable[Item]) -> list[Address]:
    """The addresses among the items, each once."""
    return list(dict.fromkeys(item.content for item in items if isinstance(item.content, Address)))


def fetch(addresses: Sequence[Address], folder: Path, limits: UrlsSection, progress: Progress = silent) -> None:
    """Fetches what is neither there nor known to be in vain. Each file and each failure is kept at once, so that after
    an interruption only the rest is fetched.

    Args:
        folder: the run's.

    Raises:
        BadInput: packages are missing, a proxy of the environment can't be used, or nothing at all can be reached.
    """
    left = [address for address in addresses if not _is_settled(address, folder, limits)]
    if not left:
        return
    extras.require("fetching addresses", "urls")
    from pipeline.sources import downloads

    (folder / HOME).mkdir(parents=True, exist_ok=True)
    finished = downloads.download({each: folder / each.file for each in left}, limits)
    for done, (address, failed) in enumerate(finished, start=1):
        if failed:
            found = Failure(failed.reason, failed.detail(address.url), failed.again, limits.model_dump_json())
            files.write(_note(address, folder), json.dumps(asdict(found)))
        else:
            _note(address, folder).unlink(missing_ok=True)
        progress("fetch", done, len(left))


def settled(item: Item, folder: Path, limits: UrlsSection) -> Item:
    """The item with the fetched file in place of its address, or with the fault that says why there is none.

    Raises:
        BadInput: as in `fetch`, which is done here if it has not been.
    """
    if not isinstance(address := item.content, Address):
        return item
    if not (folder / address.file).is_file():
        failure = read_failure(address, folder, limits)
        if failure is None:
            fetch([address], folder, limits)
            failure = read_failure(address, folder, limits)
        if failure:
            return replace(item, content=None, fault=Fault(failure.reason, failure.detail))
    return replace(item, content=Fetched(folder, address.file))


def is_to_be_asked_again(address: Address, folder: Path, limits: UrlsSection) -> bool:
    """Whether fetching has failed in a way that may pass."""
    failure = read_failure(address, folder, limits)
    return failure is not None and failure.again


def read_failure(address: Address, folder: Path, limits: UrlsSection) -> Failure | None:
    """Why an address has not been fetched; None if it has, or if nobody has tried with these settings."""
    if (folder / address.file).is_file():
        return None
    try:
        found = Failure(**json.loads(files.read(_note(address, folder), MOST_OF_FAILURE)))
    except (OSError, ValueError, TypeError):
        return None
    return found if found.limits == limits.model_dump_json() else None


def _is_settled(address: Address, folder: Path, limits: UrlsSection) -> bool:
    failure = read_failure(address, folder, limits)
    return (folder / address.file).is_file() or (failure is not None and not failure.again)


def _note(address: Address, folder: Path) -> Path:
    return folder / address.file.with_suffix(".json")
