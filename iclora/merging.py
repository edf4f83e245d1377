"""Stages of a run that is merged from parts: what the parts have made is taken over, not made again.

The stages stay what they are to the engine: inputs, settings and fingerprint are those of one run over all sources, so
the merged run is an ordinary one, and every duplicate across parts is found where it is found in any run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import files
from pipeline.engines import base
from pipeline.engines.base import Stage
from pipeline.errors import BadInput
from pipeline.records import Grid, Group, Layout, Record, Rejected
from pipeline.review import taking
from pipeline.sources.base import Item
from pipeline.sources.gathering import Items
from pipeline.stages import collect, inspect

if TYPE_CHECKING:
    from iclora.run import Run

SHARED = ("collected", "cache")
"""Folders of a run whose files are named by what they depend on, so that those of several runs can lie in one."""
BATCH = 256
"""Inputs per transaction whose results are only taken over."""


@dataclass(frozen=True)
class Merging:
    """What is merged."""

    items: Items
    """What is in the sources."""
    parts: Sequence[Run]
    """Runs over parts of them, in order."""


def answered(stage: Stage[Any], parts: Sequence[Run], folder: Path) -> Stage[Any]:
    """The stage with the results of the parts in place of its own work, as far as they have any.

    Args:
        parts: in order, each up to date with `collect` and as far as it is done with other stages.
        folder: the merged run's.
    """
    if any((mark := part.store.mark(stage.name)) is None or not mark.done for part in parts):
        return stage
    if stage.name == "collect":
        known = _InOrder(parts, lambda part: base.results_of(stage, part.store))
        run = partial(_read, known=known, read=stage.run, folder=folder, taken=_taken(stage))
        return replace(stage, run=run, batch=BATCH, workers=1, prepare=lambda *_: None)
    if stage.name == "inspect":
        run = partial(_measured, known=_InOrder(parts, _inspected), measure=stage.run, taken=_taken(stage))
        return replace(stage, run=run, batch=BATCH, workers=1)
    if stage.name == "compose":
        current = [part for part in parts if _has_composed(part, stage)]
        rows = {row["group"]: (row, part.folder) for part in current for row in part.store.table("grids")}
        return replace(stage, run=partial(_composed, compose=stage.run, rows=rows, folder=folder))
    return stage


def _taken(stage: Stage[Any]) -> frozenset[str]:
    """What people take in, as a stage is told."""
    return frozenset(stage.also.get(taking.CONFIG, ()))


def _read(
    items: Sequence[Item],
    *,
    known: _InOrder,
    read: Callable[[Sequence[Item]], Iterable[Any]],
    folder: Path,
    taken: frozenset[str],
) -> Iterator[Any]:
    """What the parts have read; items of which people have taken something in or back since are read again."""
    for item in items:
        made = known[item.id]
        yield from read([item]) if collect.overruled(made, folder, taken) else made


def _measured(
    records: Sequence[Record],
    *,
    known: _InOrder,
    measure: Callable[[Sequence[Record]], Iterable[Any]],
    taken: frozenset[str],
) -> Iterator[Any]:
    """What the parts have measured; records that people have taken in or back since are measured again.

    So are shots that were taken in, since that may have been after the parts had read their films.
    """
    for record in records:
        if record.taken or inspect.overruled(record, known[_key(record)], taken):
            yield from measure([record])
        else:
            yield from known[_key(record)]


class _InOrder:
    """The parts' results by input. Inputs come in the order of the parts, so that one part is in memory at a time."""

    def __init__(self, parts: Sequence[Run], results: Callable[[Run], Mapping[Any, Sequence[Any]]]) -> None:
        self._left, self._results = iter(parts), results
        self._now: Mapping[Any, Sequence[Any]] = {}

    def __getitem__(self, key: object) -> Sequence[Any]:
        while key not in self._now:
            part = next(self._left, None)
            if part is None:
                raise RuntimeError(f"no part has a result for {key}")
            self._now = self._results(part)
        return self._now[key]


def _inspected(part: Run) -> Mapping[Any, Sequence[Any]]:
    """By record as it was collected, what `inspect` made of it."""
    made: dict[str, Record | Rejected] = {row.id: row for row in part.store.rejected("inspect")}
    made |= {record.id: record for record in part.store.items(Record, "records")}
    return {_key(record): [made[record.id]] for record in part.store.items(Record, "collected")}


def _key(record: Record) -> object:
    """Two parts may have the same picture from different sources."""
    return record.id, record.source


def _has_composed(part: Run, stage: Stage[Any]) -> bool:
    mark = part.store.mark("compose")
    return mark is not None and mark.fingerprint == base.fingerprint(stage, part.store.digest("groups"))


def _composed(
    groups: Sequence[Group],
    *,
    compose: Callable[[Sequence[Group]], Iterable[Any]],
    rows: Mapping[str, tuple[Mapping[str, Any], Path]],
    folder: Path,
) -> Iterator[Grid | Rejected]:
    """The grids of the parts where they have formed the same groups, and those that only the whole has formed."""
    for group in groups:
        row, part = rows.get(group.id, ({}, folder))
        if row and (part / row["path"]).is_file():
            _link(part / row["path"], folder / row["path"])
            yield Grid(**{**row, "group": group, "layout": Layout(**row["layout"]), "crops": ()})
        else:
            yield from compose([group])


# ---- the files of parts


def share(part: Path, home: Path) -> None:
    """Gives a merged run the files of a part, by hard links where that can be done.

    Raises:
        BadInput: they can't be written.
    """
    for name in SHARED:
        for place, _, names in os.walk(part / name):
            target = home / name / Path(place).relative_to(part / name)
            for file in names:
                if not file.endswith(".part"):
                    _link(Path(place, file), target / file)


def _link(file: Path, target: Path) -> None:
    with _told(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or not target.samefile(file):
            files.share(file, files.anew(target))  # one that was cut off is shared again when the merge resumes


@contextmanager
def _told(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadInput(
            f"{target} can't be written ({error.strerror or error}); make room and type the same again."
        ) from error
