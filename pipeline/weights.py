"""Model weights: which commit or files a name stands for, and the threads that a small model runs on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HUB_SECONDS = 10.0
"""How long the model hub may take to say whether it is there."""
WHOLE = 64 * 2**20
"""Bytes up to which a file of weights is hashed whole; of a larger one a sample is."""
SMALL = 20_000_000
"""Parameters under which a model runs on one thread."""


def hub_commit(repo: str, file: str, revision: str | None = None) -> str:
    """The commit that a name on the model hub stands for: the one on this machine, else the hub's newest.

    What is on this machine comes first, so that a run needs no network once it has its weights, and goes on with the
    same ones.

    Args:
        file: a small file that every such model has; it is fetched where it is not here yet.

    Raises:
        LookupError: neither here nor to be fetched; the message is one line that says why.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        try:
            found = hf_hub_download(repo, file, revision=revision, local_files_only=True)
        except LocalEntryNotFoundError:
            ask_hub(repo, revision)
            found = hf_hub_download(repo, file, revision=revision)
    except Exception as error:  # the errors of a connection are those of an HTTP library that the hub's client changes
        raise LookupError(_first_line(error)) from error
    return Path(found).parent.name


def ask_hub(repo: str, revision: str | None = None) -> None:
    """Asks the hub once whether it is there and knows a model; its own download would try six times in half a minute.

    Raises:
        LookupError: it is not, or does not.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    try:
        get_hf_file_metadata(hf_hub_url(repo, "config.json", revision=revision), timeout=HUB_SECONDS)
    except EntryNotFoundError:
        return  # it knows the model, which has no such file
    except Exception as error:
        raise LookupError(_first_line(error)) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


def folder_hash(files: Sequence[Path]) -> str:
    """Hash of names, sizes and contents; of a file over 64 MB 64 pieces stand for it, evenly strewn.

    Weights that were trained further differ in every tensor that was, so pieces all over the file tell them apart.
    """
    state = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        state.update(f"{file.name} {size}\n".encode())
        with file.open("rb") as content:
            if size <= WHOLE:
                state.update(content.read())
                continue
            for piece in range(64):
                content.seek((size - 2**16) * piece // 63)
                state.update(content.read(2**16))
    return state.hexdigest()[:16]


@contextmanager
def no_bar(model: str) -> Iterator[None]:
    """Keeps transformers' bar off the screen while a folder is read; gigabytes from the hub keep theirs."""
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

    A second one gains it nothing, and where other programs want the cores too, threads that wait for one another spend
    their time spinning: on two busy cores the miniature VLM took 25.8 s for what one thread does in 0.8 s.
    """
    import torch

    threads = torch.get_num_threads()
    if sum(weights.numel() for weights in model.parameters()) < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
