"""Which characters do what on a page: the usual ones, those that a person has chosen, and whether they are on.

The choice lies in a file of the run's folder. A browser would forget it: each time the page is served, it is at another
port, and so another site. Keys of one character can be turned off altogether (WCAG 2.2, 2.1.4): who speaks to their
computer, or hits keys by accident, would set them off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

from fastapi import FastAPI
from pydantic import Field, ValidationError

from iclora.page.access import Body
from iclora.page.jobs import Jobs
from pipeline import files
from pipeline.errors import BadInput


class Chosen(Body):
    """The keys of a page."""

    keys: dict[str, Annotated[str, Field(max_length=8)]]
    """By action, the character that is typed for it."""
    on: bool = True
    """Whether they do anything."""


@dataclass(frozen=True)
class Keyboard:
    """What can be chosen on a page."""

    file: str
    """Name of the file that keeps the choice."""
    usual: Mapping[str, str]
    """By action, its key as long as no other is chosen."""
    digits: bool
    """Whether a digit can be a key; elsewhere digits choose panels and reasons."""

    def read(self, folder: Path) -> Chosen:
        """The keys in force; the usual ones if none were chosen, or if the choice can't be used.

        Args:
            folder: the one with the file.
        """
        try:
            return self._checked(Chosen.model_validate_json((folder / self.file).read_bytes()))
        except (OSError, ValidationError, BadInput):
            return Chosen(keys=dict(self.usual))

    def write(self, folder: Path, chosen: Chosen) -> Chosen:
        """Keeps a choice, and gives all keys.

        Raises:
            BadInput: it can't be used, or not be written.
        """
        keys = self._checked(chosen)
        try:
            files.write(folder / self.file, keys.model_dump_json(indent=1).encode() + b"\n")
        except OSError as error:
            raise BadInput(
                f"{folder / self.file} can't be written ({error.strerror or error}); the keys stay as they were."
            ) from error
        return keys

    def _checked(self, chosen: Chosen) -> Chosen:
        """All keys, the chosen ones in place of the usual ones.

        Raises:
            BadInput: an action is unknown, a key is no single character or a digit that can't be one, or two actions
                have the same one.
        """
        if unknown := sorted(chosen.keys.keys() - self.usual.keys()):
            raise BadInput(f"there is no action '{unknown[0]}'; keys can be given to {', '.join(self.usual)}.")
        keys = {**self.usual, **{action: key.strip().lower() for action, key in chosen.keys.items()}}
        for action, key in keys.items():
            if len(key) != 1 or not key.isprintable() or (key.isdigit() and not self.digits):
                no_digit = "" if self.digits else " and no digit"
                raise BadInput(f"the key for {action} must be one character{no_digit}, got '{key}'.")
        taken: dict[str, str] = {}
        for action, key in keys.items():
            if key in taken:
                raise BadInput(f"'{key}' is the key for both {taken[key]} and {action}; give each its own.")
            taken[key] = action
        return Chosen(keys=keys, on=chosen.on)

    def add(self, app: FastAPI, folder: Path, jobs: Jobs) -> None:
        """Adds the routes to a page's application.

        Args:
            folder: the one with the file.
        """

        @app.get("/keys")
        async def keys() -> Chosen:
            return await jobs.aside(self.read, folder)

        @app.post("/keys")
        async def choose(said: Chosen) -> Chosen:
            return await jobs.in_turn(self.write, folder, said)


REVIEW = Keyboard(
    "review-keys.json",
    MappingProxyType(
        {
            "keep": "a",
            "drop": "r",
            "unsure": "q",
            "edit": "e",
            "note": "t",
            "swap": "s",
            "replace": "x",
            "ask": "c",
            "zoom": "z",
            "crop": "p",
            "larger": "+",
            "smaller": "-",
            "undo": "u",
            "next": "n",
            "phrase": "f",
            "search": "/",
            "help": "?",
        }
    ),
    digits=False,
)
COMPARING = Keyboard(
    "compare-keys.json", MappingProxyType({"left": "1", "right": "2", "tie": "0", "help": "?"}), digits=True
)
