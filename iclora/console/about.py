"""What the commands that look at a run, the toolkit or this machine print."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from iclora import tables
from iclora.console.output import columns, line, lines, raw, text
from pipeline.wording import counted

if TYPE_CHECKING:
    from iclora.machine import Machine
    from pipeline.task import Task


def version() -> None:
    from pipeline.plugins import extras

    line(f"iclora {extras.version('iclora') or '(not installed)'}")


def counts(rows: Mapping[str, int]) -> None:
    lines(f"{name:<10} {count}" for name, count in rows.items())


def table(name: str, rows: list[dict[str, Any]], form: Literal["text", "csv", "json"]) -> None:
    """A table of a run; as text, wrapped to the terminal if there is one."""
    if form == "json":
        raw(tables.as_json(rows))
    elif form == "csv":
        raw(tables.as_csv(name, rows), end="")
    else:
        raw("\n".join(tables.as_text(name, rows, columns())))


def tasks(known: Iterable[Task]) -> None:
    rows = []
    for task in known:
        layout = task.grid_layout
        width, height = layout.canvas
        about = f"{task.title}; {' '.join(task.markers)}"
        rows.append((task.name, f"{layout.rows} x {layout.cols}", f"{width}x{height}", about))
    raw("\n".join(tables.aligned(("task", "panels", "canvas", "what it is; markers"), rows, columns())))


def machine(found: Machine, *, as_json: bool) -> None:
    if as_json:
        text(json.dumps(found.to_json(), indent=2))
        return
    line(f"device      {found.device}, {counted(found.threads, 'thread')}")
    line(f"disk free   {found.disk_free:.0f} GiB")
    lines(f"{name:<22} {version}" for name, version in found.versions.items())
    for one in found.weights:
        here = f"{'' if one.here else 'not '}on this machine"
        line(f"{one.kind:<11} {one.repo}: {here}")
    lines(found.verdict())
