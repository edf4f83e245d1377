"""Sources -> Records: walks the given paths and lets the source that claims a file read it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline import discover, sources
from pipeline.engine import Stage
from pipeline.errors import BadInput
from pipeline.records import Record, Rejected, content_id
from pipeline.sources.base import Source
from pipeline.task import Task

BESIDE = {".txt", ".json", ".jsonl", ".csv", ".md", ".toml", ".yaml", ".yml", ".caption", ".srt", ".vtt"}
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
    """All files below the given paths, in natural order (shot 2 before shot 10).

    Hidden files are passed over, and what lies below a folder with a `run.db`: a run's own pictures are no source.

    Raises:
        BadInput: a path does not exist, or there is no file below any.
    """
    found: dict[Path, SourceFile] = {}
    for path in paths:
        if not path.exists():
            raise BadInput(f"source {path} does not exist; give a film, a picture or a folder of them.")
        inside = [path] if path.is_file() else sorted(path.rglob("*"), key=lambda file: natural(str(file)))
        runs = {file.parent for file in inside if file.name == "run.db"}
        for file in inside:
            hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
            made = not runs.isdisjoint(file.parents)
            if file.is_file() and not hidden and not made and file.suffix.lower() not in BESIDE:
                state, full = file.stat(), file.resolve()
                found.setdefault(full, SourceFile(full, state.st_mtime_ns, state.st_size))
    if not found:
        raise BadInput(f"there are no films and no pictures in {', '.join(map(str, paths))}.")
    return list(found.values())


def natural(text: str) -> list[tuple[int, int | str]]:
    """Sort key that reads digits as numbers."""
    parts = re.split(r"(\d+)", text.casefold())
    return [(1, int(part)) if part.isdigit() else (0, part) for part in parts]


def stage(task: Task, files: Sequence[SourceFile], folder: Path, known: Sequence[Record]) -> Stage[SourceFile]:
    """The collect stage.

    Args:
        known: records that an earlier, cut-off run has collected; a further copy of one is dropped all the same.
    """
    plugins: list[tuple[str, Any]] = [(name, discover.load(sources, name)) for name in discover.names(sources)]
    plugins.sort(key=lambda plugin: plugin[1].PRIORITY)
    seen = {record.id: record for record in known}

    def collect(batch: Sequence[SourceFile]) -> Iterator[Record | Rejected]:
        for file in batch:
            source: Source | None = next((module for _, module in plugins if module.claims(file.path, task)), None)
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

    listing = [(str(file.path), file.changed, file.size, _texts(file.path)) for file in files]
    return Stage(
        name="collect",
        table="collected",
        run=collect,
        config={"files": listing, "task": task.name, "markers": task.markers, "layout": task.grid_layout},
        batch=1,
        origin=lambda record: (content_id("s", record.source),),
        expands=True,
        intact=lambda: all((folder / record.path).is_file() for record in known),
    )


def _what(record: Record) -> str:
    return f"{record.source} shot {record.position.shot}" if record.position.film else record.source


def _texts(path: Path) -> int:
    """Time of the last change of the texts that may belong to a file."""
    beside = (path.with_suffix(".txt"), path.parent / "caption.txt")
    return max((text.stat().st_mtime_ns for text in beside if text.is_file()), default=0)
