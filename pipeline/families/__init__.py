"""Families of base models that an In-Context LoRA can be trained on: one file each, found by its name.

`flux_1.py` is the family `flux-1`, `sd_3_5.py` is `sd-3.5`: an underscore stands for a hyphen, between two digits for a
point.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import cache

from pipeline import plugins
from pipeline.errors import BadInput
from pipeline.families.base import Family


def names() -> list[str]:
    """Names of all families, sorted, without importing any."""
    return sorted(_name(stem) for stem in plugins.names(sys.modules[__name__]))


@cache
def load(name: str) -> Family:
    """What is known of a family.

    Raises:
        BadInput: there is no family of that name.
    """
    if plugins.is_path(sys.modules[__name__], name):
        plugins.find(sys.modules[__name__], name)  # which says that a family is found by its entry point
    files = {_name(stem): stem for stem in plugins.names(sys.modules[__name__])}
    if name not in files:
        raise BadInput(f"no base model named '{name}'{plugins.suggest(name, names())} (known: {', '.join(names())}).")
    found: Family = plugins.load(sys.modules[__name__], files[name]).FAMILY
    return found


def usable() -> Iterator[tuple[str, Family]]:
    """All families by name; a broken one of another package is left out with a warning."""
    for plugin, module in plugins.usable(sys.modules[__name__]):
        yield _name(plugin.name), module.FAMILY


def _name(stem: str) -> str:
    """The family's name by its file's."""
    return re.sub(r"(?<=\d)_(?=\d)", ".", stem).replace("_", "-")
