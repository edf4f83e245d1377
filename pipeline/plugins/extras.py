"""Extras: packages that only one command or one plug-in needs, and the sentence where they are missing.

A plug-in of the toolkit that needs packages of its own has an extra of its own name in pyproject.toml, which is checked
before it makes anything. What is no plug-in calls `require` before it imports such a package.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import metadata

from pipeline.errors import BadInput

REQUIREMENT = re.compile(r"""(?P<name>[\w.-]+)[^;]*;.*\bextra == ["'](?P<extra>[\w.-]+)["']""")
"""A line of the toolkit's metadata: a package that belongs to one of its extras."""


def require(user: str, extra: str) -> None:
    """Checks that the packages of an extra are installed; imports none of them.

    Args:
        user: what needs them, as in "the review page".
        extra: its name; one that the toolkit does not have needs nothing.

    Raises:
        BadInput: some are missing; the message says how to install them.
    """
    if lacking := sentence(user, extra):
        raise BadInput(lacking)


def sentence(user: str, extra: str) -> str:
    """What `require` would say; empty if nothing is missing."""
    found = missing(extra)
    return lacking(user, found, extra) if found else ""


def lacking(user: str, packages: Sequence[str], extra: str) -> str:
    """The sentence about packages that are not installed: who needs them, and the extra that brings them."""
    *others, last = packages
    named, is_ = (f"{', '.join(others)} and {last}", "are") if others else (last, "is")
    return f"{user} needs {named}, which {is_} not installed: pip install 'iclora[{extra}]'."


def missing(extra: str) -> list[str]:
    """Packages of an extra that are not installed; none if the toolkit itself is not, as in a checkout on the path."""
    try:
        lines = metadata.requires("iclora") or []
    except metadata.PackageNotFoundError:
        return []
    needed = [found["name"] for line in lines if (found := REQUIREMENT.match(line)) and found["extra"] == extra]
    return [name for name in needed if version(name) is None]


def version(package: str) -> str | None:
    """A package's version; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
