"""Plug-ins by file name: `captioners/local.py` is the captioner `local`. Listing imports none of them."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from types import ModuleType

from pipeline.errors import BadInput


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
