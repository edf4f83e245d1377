"""Model weights: the commit or files that a name refers to, and how many threads a small model runs on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.errors import BadInput
from pipeline.progress import LOG

HUB_SECONDS = 10.0
"""Time limit for the model hub to answer at all."""
WHOLE = 64 * 2**20
"""Bytes; larger files of weights are hashed by samples."""
SMALL = 20_000_000
"""Models with fewer parameters than this run on one thread."""


def hub_commit(repo: str, file: str, revision: str | None = None) -> str:
    """The commit that a name on the model hub refers to: the one on this machine, else the hub's newest.

    The local one comes first, so that a run needs no network once it has its weights and keeps using the same ones.

    Args:
        file: a small file that every such model has; it is fetched unless it is on this machine.

    Raises:
        LookupError: it is not on this machine and can't be fetched; the message is one line that says why.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        try:
            found = hf_hub_download(repo, file, revision=revision, local_files_only=True)
        except LocalEntryNotFoundError:
            ask_hub(repo, revision)
            found = hf_hub_download(repo, file, revision=revision)
    except (
        Exception
    ) as error:  # connection errors depend on the HTTP library, which the hub's client has changed before
        raise LookupError(_first_line(error)) from error
    return Path(found).parent.name


def identity(model: str, suffixes: Collection[str], revision: str | None = None) -> str:
    """The identity of a model in transformers' layout: a hash of a folder's files, or a commit on the hub.

    Args:
        model: a folder, or a name on the hub.
        suffixes: of the files in a folder that what it computes depends on.

    Raises:
        LookupError: it is not there; the message is one line that says why.
    """
    folder = Path(model)
    if not folder.is_dir():
        return hub_commit(model, "config.json", revision)
    found = sorted(file for file in folder.iterdir() if file.suffix in suffixes)
    if folder / "config.json" not in found:
        raise LookupError(f"the folder {folder} lacks config.json")
    return folder_hash(found)


def ask_hub(repo: str, revision: str | None = None) -> None:
    """Asks the hub once whether it has a model; a download would retry six times over half a minute.

    Raises:
        LookupError: the hub can't be reached, or does not have the model.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    try:
        get_hf_file_metadata(hf_hub_url(repo, "config.json", revision=revision), timeout=HUB_SECONDS)
    except EntryNotFoundError:
        return  # the model exists but has no such file
    except Exception as error:
        raise LookupError(_first_line(error)) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


def announce(what: str, model: str, revision: str | None = None, part: str = "") -> None:
    """Logs that a model is about to be loaded, or downloaded first where its weights are not on this machine.

    Args:
        what: in words for a person, as in "the captioner NAME".
        model: a folder, or a name on the hub.
        part: folder within it, of a model in parts.
    """
    from huggingface_hub import try_to_load_from_cache

    found = (
        None
        if Path(model).is_dir()
        else try_to_load_from_cache(model, f"{part}/config.json".lstrip("/"), revision=revision)
    )
    here = Path(model).is_dir() or (isinstance(found, str) and any(Path(found).parent.glob("*.safetensors")))
    LOG.info("%s %s", "loading" if here else "downloading and loading", what)


def folder_hash(paths: Sequence[Path]) -> str:
    """Hash of names, sizes and contents; a file over 64 MB is represented by 64 evenly spaced samples.

    Fine-tuning changes whole tensors, so samples from all over the file detect it.

    Raises:
        BadInput: a file can't be read.
    """
    state = hashlib.sha256()
    for path in paths:
        try:
            with files.open_regular(path) as content:
                size = os.fstat(content.fileno()).st_size
                state.update(f"{path.name} {size}\n".encode())
                if size <= WHOLE:
                    state.update(content.read())
                    continue
                for piece in range(64):
                    content.seek((size - 2**16) * piece // 63)
                    state.update(content.read(2**16))
        except OSError as error:
            raise BadInput(
                f"{path}, which belongs to a model, can't be read: {error.strerror or error}; fetch the model again."
            ) from error
    return state.hexdigest()[:16]


@contextmanager
def told() -> Iterator[None]:
    """For loading a model: whatever its library raises on broken files is one error.

    Raises:
        LookupError: loading failed; the message is one line that says why.
    """
    try:
        yield
    except (ImportError, MemoryError):  # not the files' fault
        raise
    except Exception as error:  # every library has its own classes for every kind of damage
        if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported for that
            raise
        raise LookupError(_first_line(error) or type(error).__name__) from error


@contextmanager
def no_bar(model: str) -> Iterator[None]:
    """Hides transformers' progress bar while a local folder is loaded; downloads from the hub keep theirs."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    if Path(model).is_dir():
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


@contextmanager
def fit_threads(model: Any) -> Iterator[None]:
    """Runs a small model on one CPU thread.

    A second thread gains nothing, and if other programs need the cores, threads that wait for each other spin: on two
    busy cores the miniature VLM took 25.8 s for what one thread does in 0.8 s.
    """
    import torch

    threads = torch.get_num_threads()
    if sum(weights.numel() for weights in model.parameters()) < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
