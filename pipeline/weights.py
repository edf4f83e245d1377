"""Model weights: the commit or files that a name refers to, their download, and what a model runs on: which device, and
how many threads a small one."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.errors import BadInput
from pipeline.progress import LOG, Download

HUB_SECONDS = 10.0
"""Time limit for the model hub to answer at all."""
WHOLE = 64 * 2**20
"""Bytes; larger files of weights are hashed by samples."""
CONFIGS = ("config.json", "open_clip_config.json")
"""One of these is in every folder with weights."""
WEIGHTS = (".safetensors", ".bin")
"""Suffixes of files of weights, the preferred one first."""
STEMS = ("model", "pytorch_model", "diffusion_pytorch_model")
"""What the names of files of weights begin with that transformers, diffusers and timm load."""
SMALL_FILES = (".json", ".txt", ".model", ".jinja")
"""Suffixes of configs, tokenizers and templates."""
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


def provide(what: str, model: str, revision: str | None = None, part: str = "") -> None:
    """Downloads a model, or one part of it, unless it is on this machine, and logs that it is about to be loaded.

    Args:
        what: in words for a person, as in "the captioner NAME".
        model: a folder, or a name on the hub.
        part: folder within it, of a model in parts.

    Raises:
        LookupError: the download broke off; the message is one line that says why.
    """
    if not Path(model).is_dir():
        fetch(what, model, revision, part)
    LOG.info("loading %s", what)


def fetch(what: str, model: str, revision: str | None = None, part: str = "", stems: Collection[str] = STEMS) -> None:
    """Downloads what is needed to load a model from the hub, unless it is on this machine, and logs how that stands.

    Whatever this leaves out, the library that loads the model fetches itself.

    Args:
        what: in words for a person, as in "the captioner NAME".
        model: its name on the hub.
        part: folder within it, of a model in parts.
        stems: what the names of its files of weights begin with.

    Raises:
        LookupError: the download broke off; the message is one line that says why.
    """
    if not _is_here(model, revision, part):
        _download(what, model, revision, _needed(_listed(model, revision), part, stems))


def _is_here(model: str, revision: str | None, part: str) -> bool:
    """Whether all weights that a model's folder on this machine should have are in it."""
    from huggingface_hub import try_to_load_from_cache

    for config in CONFIGS:
        found = try_to_load_from_cache(model, f"{part}/{config}".lstrip("/"), revision=revision)
        if isinstance(found, str):
            home = Path(found).parent
            indices = [json.loads(index.read_bytes()).get("weight_map", {}) for index in home.glob("*.index.json")]
            named = {name for index in indices for name in index.values()}
            return all((home / name).exists() for name in named) and any(
                file.suffix in WEIGHTS for file in home.iterdir()
            )
    return False


def _listed(model: str, revision: str | None) -> dict[str, int]:
    """The files of a model on the hub, and their sizes in bytes; none where the hub can't be asked: what it would take
    then, the library that loads the model says."""
    from huggingface_hub import HfApi

    try:
        about = HfApi().model_info(model, revision=revision, files_metadata=True, timeout=HUB_SECONDS)
    except Exception:  # see hub_commit
        return {}
    return {file.rfilename: file.size or 0 for file in about.siblings or []}


def _needed(sizes: Mapping[str, int], part: str, stems: Collection[str]) -> dict[str, int]:
    """The files that a part of a model is loaded from, the small ones first, and their sizes in bytes.

    Of its weights these are safetensors where there are any, in one file or in shards; no variants of fewer bits.
    """
    own = {name: size for name, size in sizes.items() if name.rpartition("/")[0] == part}
    small = [name for name in own if Path(name).suffix in SMALL_FILES and not name.endswith(".index.json")]
    stem = f"({'|'.join(map(re.escape, stems))})"
    for suffix in WEIGHTS:
        for pattern in (f"{stem}{suffix}", rf"{stem}(-\d+-of-\d+{suffix}|{suffix}\.index\.json)"):
            if found := [name for name in own if re.fullmatch(pattern, Path(name).name)]:
                index = [name for name in found if name.endswith(".json")]  # before shards: it says what is missing
                return {name: own[name] for name in dict.fromkeys([*sorted(small), *index, *sorted(found)])}
    return {}


def _download(what: str, model: str, revision: str | None, needed: Mapping[str, int]) -> None:
    """Downloads files one by one, and logs how that stands."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    missing = {
        name: size
        for name, size in needed.items()
        if not isinstance(try_to_load_from_cache(model, name, revision=revision), str)
    }
    if not missing:
        return
    LOG.info("downloading %s", what)
    before, total = 0, sum(missing.values())
    for number, (name, size) in enumerate(missing.items(), 1):
        bar = _bar_of(Download(what, number, len(missing), before, total))
        try:
            hf_hub_download(model, name, revision=revision, tqdm_class=bar)
        except Exception as error:  # see hub_commit
            raise LookupError(
                f"the download broke off at file {number} of {len(missing)}, {name}, and continues with it when the "
                f"same command is given again: {_first_line(error)}"
            ) from error
        before += size


def _bar_of(download: Download) -> type[Any]:
    """What the hub's client takes for a progress bar of one file; it draws nothing and logs how the download stands."""
    from huggingface_hub.utils.tqdm import tqdm

    class Bar(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options | {"disable": True})  # type: ignore[no-untyped-call]
            self.update(0)

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            now = replace(download, done=download.done + int(self.n))
            LOG.debug("downloading %s: %s", now.what, now, extra={"download": now})

        def update_transfer(self, n: float) -> None:
            """What has arrived counts when it is on the disk."""

        def set_transfer_postfix_str(self, *_: Any, **__: Any) -> None:
            """Of the same."""

    return Bar


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
def no_bars() -> Iterator[None]:
    """Hides the progress bars of transformers and of the hub's client while a model is loaded; what takes long is told
    before that, by `provide`."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


_GPU_IS_TAKEN: ContextVar[bool] = ContextVar("_GPU_IS_TAKEN", default=False)


@contextmanager
def on_cpu() -> Iterator[None]:
    """Within it models run on the CPU: the GPU's memory is taken up by another one, such as a base that is trained."""
    before = _GPU_IS_TAKEN.set(True)
    try:
        yield
    finally:
        _GPU_IS_TAKEN.reset(before)


def device() -> str:
    """The device that models run on here: "cuda", "mps" or "cpu"."""
    import torch

    if _GPU_IS_TAKEN.get():
        return "cpu"
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


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
