"""Sources -> Records: walks the given paths and lets the source that claims a file read it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from pipeline import plugins, sources
from pipeline.engines.local import Stage
from pipeline.errors import BadInput
from pipeline.records import Record, Rejected, content_id
from pipeline.sources.base import Source, listing_files, text_files
from pipeline.task import Task

BESIDE = {".txt", ".json", ".jsonl", ".csv", ".md", ".toml", ".yaml", ".yml", ".sh", ".caption", ".srt", ".vtt"}
"""Files that accompany images; they are no images that got lost."""


@dataclass(frozen=True)
class SourceFile:
    path: Path
    changed: int
    """Time of the last change in nanoseconds; with the size it tells a changed file."""
    size: int

    @property
    def id(self) -> str:
        return content_id("s", str(self.path))

    @property
    def origin(self) -> tuple[str, ...]:
        return (self.id,)


def find(paths: Sequence[Path]) -> list[SourceFile]:
    """All files below the given paths, in natural order (shot 2 before shot 10), each once by whatever links.

    Hidden files are passed over, and what lies below a folder with a `run.db`: a run's own pictures are no source.

    Raises:
        BadInput: a path does not exist, a folder can't be read, or there is no file below any.
    """
    found: dict[str, SourceFile] = {}
    for path in paths:
        if not path.exists():
            raise BadInput(f"source {path} does not exist; give a film, a picture or a folder of them.")
        inside = [path] if path.is_file() else sorted(_below(path), key=lambda file: (natural(str(file)), str(file)))
        for file in inside:
            if (file.is_file() or file.is_symlink()) and file.suffix.lower() not in BESIDE:
                # A link keeps its own name (caches link names with suffixes to nameless blobs); one to nowhere is no
                # file lost, it is rejected when it is read.
                own = Path(os.path.abspath(file))
                found.setdefault(os.path.realpath(file), SourceFile(own, *_state(file)))
    if not found:
        raise BadInput(f"there are no films and no pictures in {', '.join(map(str, paths))}.")
    return list(found.values())


def _below(folder: Path) -> Iterator[Path]:
    """Everything in a folder and its sub-folders but hidden things; links are followed, no folder is walked twice."""

    def refuse(error: OSError) -> NoReturn:
        raise BadInput(f"folder {error.filename} can't be read: {error.strerror}; change that or leave it out.")

    walked: set[str] = set()
    for here, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(here)
        if real in walked or "run.db" in names:
            folders.clear()
            continue
        walked.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(here, name) for name in names if not name.startswith("."))


def _state(path: Path) -> tuple[int, int]:
    """Time of the last change in nanoseconds and size in bytes; zeros where there is no such file."""
    try:
        state = path.stat()
    except OSError:
        return 0, 0
    return state.st_mtime_ns, state.st_size


def natural(text: str) -> list[tuple[int, int | str]]:
    """Sort key that reads digits as numbers."""
    parts = re.split(r"(\d+)", text.casefold())
    return [(1, int(part)) if part.isdecimal() else (0, part) for part in parts]


def stage(task: Task, files: Sequence[SourceFile], folder: Path, known: Sequence[Record]) -> Stage[SourceFile]:
    """The collect stage.

    Args:
        known: records that an earlier, cut-off run has collected; a further copy of one is dropped all the same.
    """
    found: list[tuple[str, Any]] = [(name, plugins.load(sources, name)) for name in plugins.names(sources)]
    found.sort(key=lambda plugin: plugin[1].PRIORITY)
    seen = {record.id: record for record in known}

    def collect(batch: Sequence[SourceFile]) -> Iterator[Record | Rejected]:
        for file in batch:
            if file == files[0]:
                seen.clear()  # begun anew, not gone on with: what was known has left the table
            if fault := _unusual(file.path):
                yield Rejected(file.id, *fault)
                continue
            source: Source | None = next((module for _, module in found if module.claims(file.path, task)), None)
            if source is None:
                detail = f"{file.path} is neither a film nor a picture of a known kind."
                yield Rejected(file.id, str(file.path), "unsupported", detail)
                continue
            for number, item in enumerate(source.read(file.path, task, folder)):
                part = f"{file.id}#{number}"
                if isinstance(item, Rejected):
                    yield replace(item, id=part)
                elif item.id in seen:
                    first = seen[item.id]
                    detail = f"{_what(item)} has the same bytes as {_what(first)}."
                    yield Rejected(part, _what(item), "exact copy", detail)
                else:
                    seen[item.id] = item
                    yield item

    texts = [[_state(text) for text in (*text_files(file.path), *listing_files(file.path))] for file in files]
    listing = [(str(file.path), file.changed, file.size, beside) for file, beside in zip(files, texts, strict=True)]
    return Stage(
        name="collect",
        table="collected",
        run=collect,
        config={
            "files": listing,
            "task": task.name,
            "markers": task.markers,
            "stand_ins": task.stand_ins,
            "layout": task.grid_layout,
        },
        batch=1,
        origin=lambda record: (content_id("s", record.source),),
        expands=True,
        intact=lambda: all((folder / record.path).is_file() for record in known),
    )


def _what(record: Record) -> str:
    return f"{record.source} shot {record.position.shot}" if record.position.film else record.source


def _unusual(path: Path) -> tuple[str, str, str] | None:
    """The thing, class and sentence of a rejection where a name holds bytes that are no text: no table can keep it."""
    shown = str(path).encode(errors="replace").decode()
    return None if shown == str(path) else (shown, "name", f"{shown} has a name that is no UTF-8; rename it.")
