"""What plug-ins have in common: they are found by file name, their options checked, their models told apart and run.

`captioners/local.py` is the captioner `local`. Listing imports none of them.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import BadInput

HUB_SECONDS = 10.0
"""How long the model hub may take to say whether it is there."""
WHOLE = 64 * 2**20
"""Bytes up to which a file of weights is hashed whole; of a larger one a sample is."""
SMALL = 20_000_000
"""Parameters under which a model runs on one thread."""


def names(package: ModuleType) -> list[str]:
    """Names of the plug-ins in a package, sorted, without importing any."""
    found = (module.name for module in pkgutil.iter_modules(package.__path__))
    return sorted(name for name in found if name != "base" and not name.startswith("_"))


def suggest(word: str, known: list[str]) -> str:
    """`, did you mean 'x'?` where a known word is near, else nothing."""
    near = difflib.get_close_matches(word, known, n=1)
    return f", did you mean '{near[0]}'?" if near else ""


def load(package: ModuleType, name: str) -> ModuleType:
    """The plug-in's module.

    Raises:
        BadInput: no file of that name, or its import fails (the message names the missing package).
    """
    known, kind = names(package), package.__name__.rsplit(".", 1)[-1].removesuffix("s")
    if name not in known:
        raise BadInput(f"no {kind} named '{name}'{suggest(name, known)} (known: {', '.join(known)}).")
    try:
        return importlib.import_module(f"{package.__name__}.{name}")
    except ModuleNotFoundError as error:
        raise BadInput(
            f"the {kind} '{name}' needs the package '{error.name}', which is not installed: pip install {error.name}."
        ) from error
    except ImportError as error:
        raise BadInput(f"the {kind} '{name}' can't be imported: {error}; install what it asks for.") from error


# ---- options


class Options(BaseModel):
    """Base of a plug-in's options: unknown ones are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Checked = TypeVar("Checked", bound=Options)


def parse_options(kind: type[Checked], plugin: str, options: dict[str, Any]) -> Checked:
    """The options of a plug-in, checked.

    Args:
        plugin: its kind and name, as in "the captioner local".

    Raises:
        BadInput: an unknown option or a wrong value; all faults at once.
    """
    try:
        return kind.model_validate(options)
    except ValidationError as error:
        known = ", ".join(kind.model_fields) or "none"
        raise BadInput(f"options of {plugin}: {faults_of(error)} (known: {known}).") from error


def faults_of(error: ValidationError, most: int = 5) -> str:
    """The first faults of a validation in one line."""
    faults = error.errors(include_url=False)
    told = [f"{'.'.join(map(str, fault['loc'])) or 'it'}: {fault['msg']}" for fault in faults[:most]]
    return "; ".join(told) + (f"; and {len(faults) - most} more" if len(faults) > most else "")


# ---- models


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
