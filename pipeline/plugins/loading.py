"""A plug-in that was found: importing it, and what it makes."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import pickle
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline import files
from pipeline.errors import BadInput
from pipeline.plugins import extras
from pipeline.plugins.kinds import Kind

MOST_BYTES = 1 << 24
"""Of a plug-in's file."""


@dataclass(frozen=True)
class Plugin:
    """A plug-in that was found and not yet imported: plain data, so that a stage may carry it to another process."""

    kind: Kind
    name: str
    """Its name or, for one given by path, the file's stem."""
    target: str
    """The module's dotted name or, for a file, its absolute path."""
    content: str = ""
    """Hash of its file, unless it is the toolkit's own."""

    @property
    def given_by_path(self) -> bool:
        return Path(self.target).is_absolute()

    @property
    def identity(self) -> str:
        """What a stage that uses it depends on: its name and, if it is not the toolkit's own, its file's content."""
        return f"{self.name} {self.content}".strip()

    def load(self) -> ModuleType:
        """The module, imported once.

        Raises:
            BadInput: it can't be imported, or lacks something that its kind requires.
        """
        try:
            module = _import_file(self) if self.given_by_path else importlib.import_module(self.target)
        except ModuleNotFoundError as error:
            self._require()
            if not error.name or f"{self.target}.".startswith(f"{error.name}."):
                raise BadInput(f"{self} can't be imported: {error}; reinstall the package it comes from.") from error
            raise BadInput(
                f"{self} needs the package '{error.name}', which is not installed: pip install {error.name}."
            ) from error
        except (Exception, SystemExit) as error:  # whatever a stranger's file does, it is one sentence
            reason = str(error).strip().partition("\n")[0]
            shown = reason if isinstance(error, ImportError) else f"{type(error).__name__}: {reason}"
            raise BadInput(f"{self} can't be imported: {shown}; correct it or choose another.") from error
        self._check(module, self.kind.requires, "")
        return module

    def make(self, options: dict[str, Any]) -> Any:
        """What the module's `make` builds from its options. Unless the plug-in is the toolkit's own, the identity of
        what is built includes the content of its file.

        Raises:
            BadInput: as in `load`, a package of its extra is not installed, or the options are wrong.
        """
        module = self.load()
        self._require()
        made = module.make(options)
        if made is None:
            return None
        self._check(made, self.kind.provides, "what make(options) returns ")
        return Stamped(self, made) if self.content else made

    def _require(self) -> None:
        """The toolkit's own plug-ins may have an extra, named after them."""
        if self.target == f"{self.kind.package}.{self.name}":
            extras.require(str(self), self.name.replace("_", "-"))

    def _check(self, thing: object, wanted: Sequence[str], prefix: str) -> None:
        if missing := [name for name in wanted if not hasattr(thing, name)]:
            raise BadInput(f"{self}: {prefix or 'it '}lacks {', '.join(missing)}; see docs/extending.md.")

    def __str__(self) -> str:
        where = "" if self.target == f"{self.kind.package}.{self.name}" else f" ({self.target})"
        return f"the {self.kind.word} '{self.name}'{where}"


class Stamped:
    """What a plug-in of another package or of a path has made; its identity includes the content of the file."""

    def __init__(self, plugin: Plugin, made: Any) -> None:
        self.plugin, self.made = plugin, made

    def identity(self) -> dict[str, Any]:
        """
        Raises:
            BadInput: what was made has no identity.
        """
        identity = self.made.identity()
        if not isinstance(identity, dict):
            raise BadInput(f"{self}: identity returned {identity!r}; it must be a dict (docs/extending.md).")
        return {**identity, "file": self.plugin.content}

    def __str__(self) -> str:
        return str(self.plugin)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.made, name)

    def __getstate__(self) -> tuple[Plugin, bytes]:
        return self.plugin, pickle.dumps(self.made)

    def __setstate__(self, state: tuple[Plugin, bytes]) -> None:
        self.plugin, made = state
        self.plugin.load()  # in another process the module of a path is not known yet
        self.made = pickle.loads(made)


def hash_of(path: Path) -> str:
    return hashlib.sha256(files.read(path, MOST_BYTES)).hexdigest()[:16]


def _import_file(plugin: Plugin) -> ModuleType:
    """Under a name of its own, which says what was in the file: a file that changed is another module."""
    name = f"iclora_plugin_{plugin.name}_{plugin.content}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, plugin.target)
    if spec is None or spec.loader is None:
        raise ImportError(f"{plugin.target} is not a Python file")
    if hash_of(Path(plugin.target)) != plugin.content:
        raise ImportError("the file has changed since the command began")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pydantic look their own module up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
