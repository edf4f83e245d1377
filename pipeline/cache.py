"""A folder of results that cost time or money, keyed by a hash of everything that they depend on."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from platformdirs import user_cache_path

from pipeline import files
from pipeline.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    import torch


Key = TypeVar("Key")
Entry = TypeVar("Entry")

MOST_BYTES = 1 << 29
"""Of an entry; none of ours comes near it."""
CHECKED = 16
"""Bytes of the checksum that comes before vectors and pictures: half a vector would pass for a shorter one."""


def key_of(**parts: object) -> str:
    """A key from named plain values; equal if all names and values are."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:40]


def shared_folder() -> Path:
    """The folder of results that all runs on this machine share: `ICLORA_CACHE`, or the user's cache folder."""
    return Path(os.environ.get("ICLORA_CACHE") or user_cache_path("iclora"))


class Cache:
    """Entries are written atomically, so a killed run leaves no partial ones.

    They are not forced onto the disk one by one: an entry that can't be read whole, after a power failure or a disk
    error, or that has NaN or infinity in it, counts as missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _path(self, kind: str, key: str, suffix: str) -> Path:
        return self.folder / kind / key[:2] / f"{key}{suffix}"

    def get_reply(self, key: str) -> dict[str, Any] | None:
        try:
            reply = json.loads(self._read("replies", key, ".json"))
        except (OSError, ValueError, RecursionError):
            return None
        return reply if isinstance(reply, dict) else None

    def replies(self) -> Iterator[dict[str, Any]]:
        """All readable replies."""
        keys = (path.stem for path in sorted((self.folder / "replies").glob("*/*.json")))
        return (reply for key in keys if (reply := self.get_reply(key)))

    def put_reply(self, key: str, reply: dict[str, Any]) -> None:
        self._write(self._path("replies", key, ".json"), json.dumps(reply, ensure_ascii=False, indent=1).encode())

    def get_vector(self, key: str) -> np.ndarray | None:
        import numpy as np

        try:
            content = self._read("vectors", key, ".f32")
            vector: np.ndarray = np.frombuffer(content[CHECKED:], np.float32)
        except (OSError, ValueError):
            return None
        whole = _checksum(content[CHECKED:]) == content[:CHECKED]
        return vector if whole and len(vector) and np.isfinite(vector).all() else None

    def put_vector(self, key: str, vector: np.ndarray) -> None:
        content = vector.astype("float32").tobytes()
        self._write(self._path("vectors", key, ".f32"), _checksum(content) + content)

    def get_pictures(self, key: str) -> bytes | None:
        try:
            content = self._read("pictures", key, ".jpegs")
        except OSError:
            return None
        return content[CHECKED:] if _checksum(content[CHECKED:]) == content[:CHECKED] else None

    def put_pictures(self, key: str, content: bytes) -> None:
        self._write(self._path("pictures", key, ".jpegs"), _checksum(content) + content)

    def drop_pictures(self, key: str) -> None:
        """Removes an entry that nobody needs any more, if it is there."""
        with suppress(OSError):
            self._path("pictures", key, ".jpegs").unlink()

    def get_tensors(self, kind: str, key: str) -> dict[str, torch.Tensor] | None:
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            found = load(self._read(kind, key, ".safetensors"))
            return found if all(bool(tensor.isfinite().all()) for tensor in found.values()) else None
        except (OSError, SafetensorError, ValueError, KeyError, RuntimeError):  # the last two: odd kinds of numbers
            return None

    def put_tensors(self, kind: str, key: str, tensors: dict[str, torch.Tensor]) -> None:
        from safetensors.torch import save

        self._write(self._path(kind, key, ".safetensors"), save(tensors))

    def _read(self, kind: str, key: str, suffix: str) -> bytes:
        return files.read(self._path(kind, key, suffix), MOST_BYTES)

    def _write(self, path: Path, content: bytes) -> None:
        part = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(content)
            part.replace(path)
        except OSError as error:
            raise BadInput(
                f"{path.parent} can't be written to ({error.strerror}); free some space, or choose another folder with "
                "--out (or with ICLORA_CACHE, for the cache that training runs share)."
            ) from error


def _checksum(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:CHECKED]


def alike(entries: Mapping[Key, Entry], form: Callable[[Entry], Hashable]) -> dict[Key, Entry]:
    """The entries of the form that most have; others are not what was written, and count as missing."""
    forms = {key: form(entry) for key, entry in entries.items()}
    usual = Counter(forms.values()).most_common(1)
    return {key: entry for key, entry in entries.items() if forms[key] == usual[0][0]}
