"""Finding plug-ins by name or by path; listing names never imports one."""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import importlib.util
import os
import pkgutil
import sys
import warnings
from collections.abc import Iterator
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.errors import BadInput, BrokenPlugin
from pipeline.plugins.kinds import ENGINES, KINDS, TASKS, Kind
from pipeline.plugins.loading import Plugin, hash_of
from pipeline.plugins.options import sentence, suggest

OWN = "iclora"
"""Package of the toolkit's own plug-ins."""


def names(kind: Kind | ModuleType) -> list[str]:
    """Names of all plug-ins of a kind, sorted: the toolkit's own and those of installed packages. Imports none.

    Args:
        kind: a kind, or the package that holds the toolkit's own plug-ins of that kind; everywhere here.
    """
    kind = kind_of(kind)
    return _names(kind, _entries().select(group=kind.group))


def _names(kind: Kind, entries: metadata.EntryPoints) -> list[str]:
    return sorted({*_own(kind), *entries.names})


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
    return _find_named(kind, name, _entries().select(group=kind.group))


def _find_named(kind: Kind, name: str, entries: metadata.EntryPoints) -> Plugin:
    """
    Args:
        entries: of the kind's group.

    Raises:
        BadInput: as in `find`.
    """
    known, own = _names(kind, entries), _own(kind)
    same = [one for one in known if one.replace("_", "-") == name.replace("_", "-")]
    targets = {_target(kind, kind.package, one): OWN for one in same if one in own}
    for entry in (entry for entry in entries if entry.name in same):
        target = _task_file(entry) if kind is TASKS else entry.value
        targets[target] = _package_of(entry)
    if len(targets) > 1:
        both = " and ".join(f"{target} of {package}" for target, package in targets.items())
        raise BadInput(f"more than one {kind.word} is named '{name}': {both}; uninstall or rename all but one.")
    if not targets:
        _warn_of_unknown(_entries(), kind)
        raise BadInput(
            f"no {kind.word} named '{name}'{suggest(name, known)} (known: {', '.join(known)}; or "
            + (f"give the path of a {kind.suffix} file)." if kind.by_path else "install a package that has it).")
        )
    ((target, package),) = targets.items()
    return Plugin(kind, same[0], target, "" if package == OWN else _content_of(target))


def load(kind: Kind | ModuleType, name: str) -> ModuleType:
    """The module of a plug-in.

    Raises:
        BadInput: as in `find` and `Plugin.load`.
    """
    return find(kind, name).load()


def usable(kind: Kind | ModuleType) -> Iterator[tuple[Plugin, ModuleType]]:
    """All plug-ins of a kind with their modules, for where nobody has named one; see `leave_out` for broken ones.

    Raises:
        BadInput: one of the toolkit's own can't be loaded.
    """
    kind = kind_of(kind)
    every = _entries()
    _warn_of_unknown(every, kind)
    entries = every.select(group=kind.group)
    for name in _names(kind, entries):
        try:
            plugin = _find_named(kind, name, entries)
            module = plugin.load()
        except BadInput as error:
            leave_out(kind, name, error)
        else:
            yield plugin, module


def _warn_of_unknown(entries: metadata.EntryPoints, kind: Kind) -> None:
    """Warns of groups of entry points that look like the toolkit's and are not: nobody finds what is in them."""
    known = sorted({one.group for one in (*KINDS, ENGINES, kind)})
    for group in sorted(entries.groups):
        if group.startswith(f"{OWN}.") and group not in known:
            package = _package_of(next(iter(entries.select(group=group))))
            there = suggest(group, known) or f" (known: {', '.join(known)})"
            text = sentence(f"left out: {package} has entry points in the unknown group '{group}'{there}")
            warnings.warn(text, BrokenPlugin, stacklevel=1)


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


def _entries() -> metadata.EntryPoints:
    """The entry points of all installed packages. Reading them takes milliseconds, for it opens a file of each package:
    it is done again only when a folder of packages has changed."""
    found: metadata.EntryPoints = _read(tuple((folder, _state(folder or os.curdir)) for folder in sys.path))
    return found


@lru_cache(maxsize=1)
def _read(_folders: tuple[tuple[str, tuple[int, ...]], ...]) -> Any:
    return metadata.entry_points()


def _state(folder: str) -> tuple[int, ...]:
    """What tells a folder from another one, and from itself when a package is installed or removed."""
    try:
        found = os.stat(folder)
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_mtime_ns


def _own(kind: Kind) -> list[str]:
    if kind.suffix == ".py":  # a package that is imported may have been given more folders
        package = sys.modules.get(kind.package)
        folders = package.__path__ if package else [str(_folder(kind.package))]
        found = [name for folder in folders for name in _modules(folder, _content(folder))]
    else:
        found = [path.stem for path in _folder(kind.package).glob(f"*{kind.suffix}")]
    return [name for name in found if name != "base" and not name.startswith("_")]


@lru_cache(maxsize=100)
def _modules(folder: str, _content: tuple[str, ...]) -> tuple[str, ...]:
    """The modules in a folder. Which of its files are modules takes long to find out, and is asked once per plug-in."""
    return tuple(module.name for module in pkgutil.iter_modules([folder]))


def _content(folder: str) -> tuple[str, ...]:
    """The names in a folder; none if it can't be read."""
    try:
        return tuple(sorted(os.listdir(folder)))
    except OSError:
        return ()


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
        return hash_of(path) if path else ""
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
        content = hash_of(path)
    except OSError as error:
        raise BadInput(
            f"the {kind.word} {path} can't be read: {error.strerror}; give the path of a {kind.suffix} file."
        ) from error
    return Plugin(kind, path.stem, str(path.resolve()), content)
