"""Installs a package for a test: its files and the entry points that pip would write, in a folder on `sys.path`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pipeline import families
from pipeline.sources import gathering


def write(folder: Path, package: str, files: Mapping[str, str], entries: Mapping[str, str]) -> Path:
    """Writes what an installed package consists of into a folder, which must then be on the path.

    Args:
        files: contents by path within the package.
        entries: by `GROUP NAME`, the module that the entry point names, as in `{"iclora.captioners haiku": "p.haiku"}`.
    """
    for name, text in {"__init__.py": "", **files}.items():
        path = folder / package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    about = folder / f"{package}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
    lines = []
    for key, value in entries.items():
        group, _, name = key.partition(" ")
        lines += [f"[{group}]", f"{name} = {value}"]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@contextmanager
def installed(folder: Path, package: str, files: Mapping[str, str], entries: Mapping[str, str]) -> Iterator[Path]:
    """The package while the block lasts; see `write`."""
    write(folder, package, files, entries)
    sys.path.insert(0, str(folder))
    forget()
    try:
        yield folder
    finally:
        forget()
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.split(".")[0] == package]:
            del sys.modules[name]


def forget() -> None:
    """Forgets what a command looks for once, since packages don't come and go while it runs."""
    families.load.cache_clear()
    gathering.ordered.cache_clear()
