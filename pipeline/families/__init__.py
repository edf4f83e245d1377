"""Families of base models that an In-Context LoRA can be trained on: one file each, found by its name.

`flux_1.py` is the family `flux-1`, `sd_3_5.py` is `sd-3.5`: an underscore stands for a hyphen, between two digits for a
point.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from pydantic import ValidationError

from pipeline import plugins
from pipeline.errors import BadInput
from pipeline.families.base import Family, Recipe
from pipeline.plugins import Plugin


def names() -> list[str]:
    """Names of all families, sorted, without importing any."""
    return sorted({_name(stem) for stem in plugins.names(plugins.FAMILIES)})


@cache
def load(name: str) -> Family:
    """What is known of a family.

    Raises:
        BadInput: there is no family of that name, or its file can't be used.
    """
    return _load(_find(name))


def identity(name: str) -> str:
    """What depends on a family depends on this: its name and, if it is another package's, the content of its file.

    Raises:
        BadInput: there is no family of that name.
    """
    return f"{name} {_find(name).content}".strip()


def usable() -> Iterator[tuple[str, Family]]:
    """All families by name; a broken one of another package is left out with a warning."""
    for plugin, _ in plugins.usable(plugins.FAMILIES):
        try:
            family = _load(plugin)
        except BadInput as error:
            plugins.leave_out(plugins.FAMILIES, plugin.name, error)
        else:
            yield _name(plugin.name), family


def bare(text: str) -> str:
    """The caption of a panel without what the template of a family has put around it."""
    for _, family in usable():
        start, _, end = (family.references.template if family.references else "").partition("{text}")
        if (start or end) and text.startswith(start) and text.endswith(end):
            return text[len(start) : len(text) - len(end)]
    return text


def faults(family: Family) -> list[str]:
    """What of a family nothing knows: keys and values of its recipe, and names of trainers. Imports no exporter."""
    found = []
    try:
        Recipe.model_validate(dict(family.recipe))
    except ValidationError as error:
        found.append(f"recipe must have keys and values of Recipe: {plugins.faults_of(error, Recipe)}")
    known = plugins.names(plugins.EXPORTERS)
    with_references = family.references.trainers if family.references else {}
    of_others = (name for terms in family.others.values() for name in terms)
    if foreign := sorted({*family.trainers, *with_references, *of_others} - set(known)):
        found.append(f"trainers must be named as exporters are ({', '.join(known)}), got {', '.join(foreign)}")
    if family.references and family.references.template.count("{text}") != 1:
        found.append(f"the template of its references must have {{text}} once, got '{family.references.template}'")
    return found


def _find(name: str) -> Plugin:
    if plugins.is_path(plugins.FAMILIES, name):
        plugins.find(plugins.FAMILIES, name)  # which says that a family is found by its entry point
    found = [plugins.find(plugins.FAMILIES, stem) for stem in plugins.names(plugins.FAMILIES) if _name(stem) == name]
    if not found:
        raise BadInput(f"no base model named '{name}'{plugins.suggest(name, names())} (known: {', '.join(names())}).")
    if len(found) > 1:
        both = " and ".join(plugin.target for plugin in found)
        raise BadInput(f"more than one model family is named '{name}': {both}; uninstall or rename all but one.")
    return found[0]


def _load(plugin: Plugin) -> Family:
    """The family of a file; one of another package is checked, the toolkit's own are by their tests."""
    family: Family = plugin.load().FAMILY
    if plugin.content:
        if not isinstance(family, Family):
            raise BadInput(f"{plugin}: FAMILY must be a Family, got a {type(family).__name__}; see docs/extending.md.")
        if found := faults(family):
            raise BadInput(plugins.sentence(f"{plugin}: {plugins.joined(found, len(found))}"))
    return family


def _name(stem: str) -> str:
    """The family's name by its file's."""
    return re.sub(r"(?<=\d)_(?=\d)", ".", stem).replace("_", "-")
