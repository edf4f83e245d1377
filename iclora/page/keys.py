"""Which keys do what on the review page: the usual ones, and those that a reviewer has chosen for a run.

The choice lies in the run's folder. A browser would forget it: each time the page is served, it is at another port, and
so another site.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from pipeline import files
from pipeline.errors import BadInput

FILE = "review-keys.json"
USUAL = {
    "keep": "a",
    "drop": "r",
    "unsure": "q",
    "edit": "e",
    "note": "t",
    "swap": "s",
    "replace": "x",
    "ask": "c",
    "zoom": "z",
    "undo": "u",
    "next": "n",
    "phrase": "f",
    "search": "/",
    "help": "?",
}
"""By action, the character that is typed for it. Digits choose panels and reasons."""

_KEYS = TypeAdapter(dict[str, str])


def read(folder: Path) -> dict[str, str]:
    """The keys of a run; the usual ones if none were chosen, or if the choice can't be used.

    Args:
        folder: the run's.
    """
    try:
        return checked(_KEYS.validate_json((folder / FILE).read_bytes()))
    except (OSError, ValidationError, BadInput):
        return dict(USUAL)


def write(folder: Path, chosen: Mapping[str, str]) -> dict[str, str]:
    """Keeps a choice, and gives all keys.

    Raises:
        BadInput: it can't be used, or not be written.
    """
    keys = checked(chosen)
    try:
        files.write(folder / FILE, json.dumps(keys, ensure_ascii=False, indent=1).encode() + b"\n")
    except OSError as error:
        raise BadInput(
            f"{folder / FILE} can't be written ({error.strerror or error}); the keys stay as they were."
        ) from error
    return keys


def checked(chosen: Mapping[str, str]) -> dict[str, str]:
    """All keys, the chosen ones in place of the usual ones.

    Raises:
        BadInput: an action is unknown, a key is no single character or a digit, or two actions have the same one.
    """
    if unknown := sorted(chosen.keys() - USUAL.keys()):
        raise BadInput(f"there is no action '{unknown[0]}'; keys can be given to {', '.join(USUAL)}.")
    keys = USUAL | {action: key.strip().lower() for action, key in chosen.items()}
    for action, key in keys.items():
        if len(key) != 1 or not key.isprintable() or key.isdigit():
            raise BadInput(f"the key for {action} must be one character and no digit, got '{key}'.")
    taken: dict[str, str] = {}
    for action, key in keys.items():
        if key in taken:
            raise BadInput(f"'{key}' is the key for both {taken[key]} and {action}; give each its own.")
        taken[key] = action
    return keys
