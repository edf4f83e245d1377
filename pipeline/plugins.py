"""Plug-ins: how each kind of them is found, and how options are checked.

A plug-in is one module; a task is one TOML file. The toolkit finds its own by file name, those of installed packages by
entry point, and others by path (`--captioner ./mine.py`) where a user names one. Listing names never imports a plug-in.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib
import importlib.machinery
import importlib.util
import pickle
import pkgutil
import sys
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline import extras
from pipeline.errors import BadInput

EXTRA = "extra_forbidden"
"""pydantic's name of the fault that a key is not known."""
OWN = "iclora"
"""Package of the toolkit's own plug-ins."""
WIDEST = 60
"""Letters of a wrong value that an error repeats."""


@dataclass(frozen=True)
class Kind:
    """One kind of plug-in. Finding, loading, listing and the contract tests in `iclora.testing` all read it."""

    word: str
    """What one of them is called in messages."""
    package: str
    """Where the toolkit's own are: every file except `base` and those that begin with an underscore."""
    group: str
    """Entry-point group of other packages. The entry point's name is the plug-in's name, its value the module; for a
    task, the package that holds `NAME.toml`."""
    requires: tuple[str, ...] = ()
    """What the module must define."""
    provides: tuple[str, ...] = ()
    """What the object that its `make(options)` returns must have."""
    suffix: str = ".py"
    by_path: bool = True
    """Whether one may be given as the path of its file. Those that nobody names are found by their entry points."""


TASKS = Kind("task", "pipeline.tasks", "iclora.tasks", suffix=".toml")
CONTAINERS = Kind(
    "container",
    "pipeline.sources.containers",
    "iclora.sources",
    ("PRIORITY", "claims", "items", "beside"),
    by_path=False,
)
READERS = Kind("reader", "pipeline.sources.readers", "iclora.readers", ("PRIORITY", "claims", "read"), by_path=False)
GROUPING = Kind("grouping strategy", "pipeline.grouping.strategies", "iclora.grouping", ("COPIES", "form"))
CAPTIONERS = Kind(
    "captioner", "captioners", "iclora.captioners", ("Options", "make"), ("batch", "verbatim", "identity", "ask")
)
SCORERS = Kind(
    "scorer",
    "pipeline.consistency.scorers",
    "iclora.scorers",
    ("Options", "make"),
    ("identity", "image_vectors", "text_vectors"),
)
EXPORTERS = Kind("exporter", "pipeline.exporters", "iclora.exporters", ("write",))
FAMILIES = Kind("model family", "pipeline.families", "iclora.families", ("FAMILY",), by_path=False)
BACKENDS = Kind("training backend", "training.backends", "iclora.backends", ("make",), by_path=False)
KINDS = (TASKS, CONTAINERS, READERS, GROUPING, CAPTIONERS, SCORERS, EXPORTERS, FAMILIES, BACKENDS)


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
        return {**self.made.identity(), "file": self.plugin.content}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.made, name)

    def __getstate__(self) -> tuple[Plugin, bytes]:
        return self.plugin, pickle.dumps(self.made)

    def __setstate__(self, state: tuple[Plugin, bytes]) -> None:
        self.plugin, made = state
        self.plugin.load()  # in another process the module of a path is not known yet
        self.made = pickle.loads(made)


def names(kind: Kind | ModuleType) -> list[str]:
    """Names of all plug-ins of a kind, sorted: the toolkit's own and those of installed packages. Imports none.

    Args:
        kind: a kind, or the package that holds the toolkit's own plug-ins of that kind; everywhere here.
    """
    kind = kind_of(kind)
    return sorted({*_own(kind), *(entry.name for entry in metadata.entry_points(group=kind.group))})


def kind_of(kind: Kind | ModuleType) -> Kind:
    """The kind whose plug-ins a package holds."""
    return kind if isinstance(kind, Kind) else next(one for one in KINDS if one.package == kind.__name__)


def is_path(kind: Kind | ModuleType, name: str) -> bool:
    """Whether a name is the path of a file rather than the name of a plug-in."""
    kind = kind_of(kind)
    return name.endswith(kind.suffix) or Path(name).name != name


def absolute(kind: Kind | ModuleType, name: str) -> str:
    """A name as it is; a path made absolute, so that it can be kept and used from another folder."""
    return str(Path(name).resolve()) if is_path(kind, name) else name


def find(kind: Kind | ModuleType, name: str) -> Plugin:
    """A plug-in by its name, in which hyphens and underscores are the same, or by the path of its file.

    Raises:
        BadInput: there is none, or more than one has that name.
    """
    kind = kind_of(kind)
    if is_path(kind, name):
        if not kind.by_path:
            raise BadInput(
                f"a {kind.word} is found by its entry point, not by a path, got {name}; declare one in the group "
                f"{kind.group} and install its package (docs/extending.md)."
            )
        return _find_file(kind, Path(name))
    asked, known = name, names(kind)
    name = next((one for one in known if one.replace("_", "-") == asked.replace("_", "-")), asked)
    targets = {_target(kind, kind.package, name): OWN} if name in _own(kind) else {}
    for entry in metadata.entry_points(group=kind.group, name=name):
        target = _task_file(entry) if kind is TASKS else entry.value
        targets[target] = _package_of(entry)
    if len(targets) > 1:
        both = " and ".join(f"{target} of {package}" for target, package in targets.items())
        raise BadInput(f"more than one {kind.word} is named '{name}': {both}; uninstall or rename all but one.")
    if not targets:
        raise BadInput(
            f"no {kind.word} named '{name}'{suggest(name, known)} (known: {', '.join(known)}; or "
            + (f"give the path of a {kind.suffix} file)." if kind.by_path else "install a package that has it).")
        )
    ((target, package),) = targets.items()
    return Plugin(kind, name, target, "" if package == OWN else _content_of(target))


def load(kind: Kind | ModuleType, name: str) -> ModuleType:
    """The module of a plug-in.

    Raises:
        BadInput: as in `find` and `Plugin.load`.
    """
    return find(kind, name).load()


class BrokenPlugin(UserWarning):
    """An installed plug-in that can't be used is left out."""


def usable(kind: Kind | ModuleType) -> Iterator[tuple[Plugin, ModuleType]]:
    """All plug-ins of a kind with their modules, for where nobody has named one; see `leave_out` for broken ones.

    Raises:
        BadInput: one of the toolkit's own can't be loaded.
    """
    for name in names(kind):
        try:
            plugin = find(kind, name)
            module = plugin.load()
        except BadInput as error:
            leave_out(kind, name, error)
        else:
            yield plugin, module


def leave_out(kind: Kind | ModuleType, name: str, error: BadInput) -> None:
    """Warns that a plug-in of another package can't be used, so that it doesn't stop the others.

    Raises:
        BadInput: the error, if the plug-in is the toolkit's own.
    """
    if name in _own(kind_of(kind)):
        raise error
    warnings.warn(f"left out: {error}", BrokenPlugin, stacklevel=1)


def make(kind: Kind | ModuleType, name: str, options: dict[str, Any]) -> Any:
    """What a plug-in makes from its options.

    Raises:
        BadInput: as in `find` and `Plugin.make`.
    """
    return find(kind, name).make(options)


def suggest(word: str, known: Sequence[str]) -> str:
    """`, did you mean 'x'?` if a known word is close, otherwise nothing."""
    near = difflib.get_close_matches(word, known, n=1)
    return f", did you mean '{near[0]}'?" if near else ""


def _own(kind: Kind) -> list[str]:
    if kind.suffix == ".py":  # a package that is imported may have been given more folders
        package = sys.modules.get(kind.package)
        folders = package.__path__ if package else [str(_folder(kind.package))]
        found = [module.name for module in pkgutil.iter_modules(folders)]
    else:
        found = [path.stem for path in _folder(kind.package).glob(f"*{kind.suffix}")]
    return [name for name in found if name != "base" and not name.startswith("_")]


def _folder(package: str) -> Path:
    """The folder of a package, which is not imported for that.

    Raises:
        BadInput: there is no such package.
    """
    try:
        spec = importlib.util.find_spec(package)
    except ImportError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise BadInput(f"there is no package {package}; reinstall what provides it.")
    return Path(next(iter(spec.submodule_search_locations)))


def _target(kind: Kind, package: str, name: str) -> str:
    return f"{package}.{name}" if kind.suffix == ".py" else str(_folder(package) / f"{name}{kind.suffix}")


def _task_file(entry: metadata.EntryPoint) -> str:
    """The file of a task in the package that its entry point names.

    Raises:
        BadInput: there is no such package, or the file is not in it.
    """
    suffix = TASKS.suffix
    path = Path()
    with contextlib.suppress(BadInput):
        path = Path(_target(TASKS, entry.value, entry.name))
    if not path.is_file():
        raise BadInput(
            f"the task '{entry.name}' can't be read: the entry point '{entry.name} = {entry.value}' of "
            f"{_package_of(entry)} names no package with a file {entry.name}{suffix}; reinstall or correct it."
        )
    return str(path)


def _package_of(entry: metadata.EntryPoint) -> str:
    return f"the package {entry.dist.name}" if entry.dist else "another package"


def _content_of(target: str) -> str:
    """Hash of the file of a module or task, which is not imported for that; empty if there is no file."""
    path = Path(target) if Path(target).is_absolute() else _file_of(target)
    try:
        return _hash(path) if path else ""
    except OSError:
        return ""


def _file_of(module: str) -> Path | None:
    """The source file of a module. Unlike `importlib.util.find_spec`, it doesn't import the packages around it."""
    first, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(first)
    except (ImportError, ValueError):  # a ValueError: a module in `sys.modules` without a spec
        return None
    name = first
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        name = f"{name}.{part}"
        spec = importlib.machinery.PathFinder.find_spec(name, list(spec.submodule_search_locations))
    return Path(spec.origin) if spec and spec.has_location and spec.origin else None


def _find_file(kind: Kind, path: Path) -> Plugin:
    try:
        content = _hash(path)
    except OSError as error:
        raise BadInput(
            f"the {kind.word} {path} can't be read: {error.strerror}; give the path of a {kind.suffix} file."
        ) from error
    return Plugin(kind, path.stem, str(path.resolve()), content)


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _import_file(plugin: Plugin) -> ModuleType:
    """Under a name of its own, which says what was in the file: a file that changed is another module."""
    name = f"iclora_plugin_{plugin.name}_{plugin.content}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, plugin.target)
    if spec is None or spec.loader is None:
        raise ImportError(f"{plugin.target} is not a Python file")
    if _hash(Path(plugin.target)) != plugin.content:
        raise ImportError("the file has changed since the command began")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pydantic look their own module up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


# ---- options


class Options(BaseModel):
    """Base of a plug-in's options: unknown ones are errors, and a number is a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Checked = TypeVar("Checked", bound=Options)


def parse_options(kind: type[Checked], plugin: str, options: dict[str, Any], section: str = "") -> Checked:
    """The options of a plug-in, checked.

    Args:
        plugin: its kind and name, as in "the captioner local".
        section: what precedes a key where a user writes it, as in "train.".

    Raises:
        BadInput: an unknown option or a wrong value; all faults at once.
    """
    try:
        return kind.model_validate(options)
    except ValidationError as error:
        raise BadInput(sentence(f"options of {plugin}: {faults_of(error, kind, section)}")) from error


def faults_of(error: ValidationError, model: type[BaseModel] | None = None, section: str = "", most: int = 5) -> str:
    """The first faults of a validation in one line, with the values.

    Args:
        model: what was validated; misspelt keys are answered with the nearest of its keys, or with all of them.
        section: what precedes every key.
        most: how many faults are named; the rest are counted.
    """
    return joined(list_faults(error, model, section), most)


def joined(faults: Sequence[str], most: int) -> str:
    """Faults as one line; those beyond `most` are counted."""
    return "; ".join(faults[:most]) + (f"; and {len(faults) - most} more" if len(faults) > most else "")


def sentence(text: str) -> str:
    """The text with the full stop that it needs."""
    return text if text.endswith("?") else f"{text}."


def list_faults(
    error: ValidationError, model: type[BaseModel] | None = None, section: str = "", skip: Collection[str] = ()
) -> list[str]:
    """Every fault of a validation, with the key in full and the value.

    Args:
        model: as for `faults_of`, like `section`.
        skip: sections of the model whose faults are left out.
    """
    found = []
    for fault in error.errors(include_url=False):
        if fault["loc"] and fault["loc"][0] in skip:
            continue
        *sections, last = fault["loc"] or ("",)
        where = f"{section}{'.'.join(map(str, fault['loc']))}".rstrip(".")
        if fault["type"] == EXTRA:
            known = _keys(model, sections)
            near = suggest(str(last), known or [])
            listed = f" (known: {', '.join(known) or 'none'})" if known is not None and not near else ""
            found.append(f"unknown key '{where}'{near}{listed}")
        else:
            whole = fault["type"] == "missing" or isinstance(fault["input"], dict)  # all of it, not what is at fault
            got = "" if whole else f", got {_short(fault['input'])}"
            colon = ": " if where else ""  # a fault of the whole has no key
            found.append(f"{where}{colon}{fault['msg'].removeprefix('Value error, ')}{got}")
    return found


def _keys(model: type[BaseModel] | None, sections: Sequence[int | str]) -> list[str] | None:
    """Keys of a model, or of one of its sections; None if that has no fixed form."""
    for section in sections:
        field = model.model_fields.get(str(section)) if model else None
        inner = field.annotation if field else None
        model = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None
    return [field.alias or name for name, field in model.model_fields.items()] if model else None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 3]}..."
