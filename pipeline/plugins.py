"""Plug-ins by file name, and their options: `captioners/local.py` is the captioner `local`. Listing imports none."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Sequence
from types import ModuleType
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import BadInput

EXTRA = "extra_forbidden"
"""pydantic's name of the fault that a key is not known."""
WIDEST = 60
"""Letters of a wrong value that an error repeats."""


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
    """Base of a plug-in's options: unknown ones are errors, and a number is a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Checked = TypeVar("Checked", bound=Options)


def parse_options(kind: type[Checked], plugin: str, options: dict[str, Any], section: str = "") -> Checked:
    """The options of a plug-in, checked.

    Args:
        plugin: its kind and name, as in "the captioner local".
        section: what stands before a key where a user writes it, as in "train.".

    Raises:
        BadInput: an unknown option or a wrong value; all faults at once.
    """
    try:
        return kind.model_validate(options)
    except ValidationError as error:
        known = [field.alias or name for name, field in kind.model_fields.items()]
        told = f"options of {plugin}: {faults_of(error, known, section)}"
        if any(fault["type"] == EXTRA and not suggest(str(fault["loc"][-1]), known) for fault in error.errors()):
            told += f" (known: {', '.join(known) or 'none'})"
        raise BadInput(told if told.endswith("?") else f"{told}.") from error


def faults_of(error: ValidationError, known: Sequence[str] = (), section: str = "", most: int = 5) -> str:
    """The first faults of a validation in one line, with the values.

    Args:
        known: keys that a misspelt one may have been meant to be.
        section: what stands before every key.
    """
    faults = error.errors(include_url=False)
    told = []
    for fault in faults[:most]:
        where = f"{section}{'.'.join(map(str, fault['loc']))}".rstrip(".") or "it"
        if fault["type"] == EXTRA:
            told.append(f"{where}: there is no such key{suggest(str(fault['loc'][-1]), list(known))}")
        else:
            whole = fault["type"] == "missing" or isinstance(fault["input"], dict)  # all of it, not what is at fault
            got = "" if whole else f", got {_short(fault['input'])}"
            told.append(f"{where}: {fault['msg'].removeprefix('Value error, ')}{got}")
    return "; ".join(told) + (f"; and {len(faults) - most} more" if len(faults) > most else "")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 3]}..."
