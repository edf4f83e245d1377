"""Stages of a run that is merged from parts: what the parts have made is taken over, not made again.

The stages stay what they are to the engine: inputs, settings and fingerprint are those of one run over all sources, so
the merged run is an ordinary one, and every duplicate across parts is found where it is found in any run.
"""

from __future__ import annotations

import os
from collections import defaultdict
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
from pipeline.sources.gathering import Items
from pipeline.stages import collect

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
        known = _InOrder(parts, _collected)
        run = partial(_taken_over, known=known, key=lambda item: item.id)
        return replace(stage, run=run, batch=BATCH, workers=1, prepare=lambda *_: None)
    if stage.name == "inspect" and not _overruled(stage, parts):
        run = partial(_taken_over, known=_InOrder(parts, _inspected), key=_key)
        return replace(stage, run=run, batch=BATCH, workers=1)
    if stage.name == "compose":
        current = [part for part in parts if _has_composed(part, stage)]
        rows = {row["group"]: (row, part.folder) for part in current for row in part.store.table("grids")}
        return replace(stage, run=partial(_composed, compose=stage.run, rows=rows, folder=folder))
    return stage


def _taken_over(batch: Sequence[Any], *, known: _InOrder, key: Callable[[Any], object]) -> Iterator[Record | Rejected]:
    for one in batch:
        yield from known[key(one)]


class _InOrder:
    """The parts' results by input. Inputs come in the order of the parts, so that one part is in memory at a time."""

    def __init__(
        self, parts: Sequence[Run], results: Callable[[Run], Mapping[object, Sequence[Record | Rejected]]]
    ) -> None:
        self._left, self._results = iter(parts), results
        self._now: Mapping[object, Sequence[Record | Rejected]] = {}

    def __getitem__(self, key: object) -> Sequence[Record | Rejected]:
        while key not in self._now:
            part = next(self._left, None)
            if part is None:
                raise RuntimeError(f"no part has a result for {key}")
            self._now = self._results(part)
        return self._now[key]


def _collected(part: Run) -> Mapping[object, Sequence[Record | Rejected]]:
    """By item, what was made of it, in the order in which its reader gave it."""
    found: dict[object, list[Record | Rejected]] = defaultdict(list)
    for record in part.store.items(Record, "collected"):
        found[collect.origin(record)[0]].append(record)
    for row in sorted(part.store.rejected("collect"), key=_place):
        found[row.origin].insert(_place(row), row)
    return found


def _place(row: Rejected) -> int:
    """Which of the results of its item a rejection is, from 0."""
    return int(row.id.partition("#")[2] or 0)


def _inspected(part: Run) -> Mapping[object, Sequence[Record | Rejected]]:
    """By record as it was collected, what `inspect` made of it."""
    made: dict[str, Record | Rejected] = {row.id: row for row in part.store.rejected("inspect")}
    made |= {record.id: record for record in part.store.items(Record, "records")}
    return {_key(record): [made[record.id]] for record in part.store.items(Record, "collected")}


def _overruled(stage: Stage[Any], parts: Sequence[Run]) -> bool:
    """Whether a person takes in what a part has rejected; then the pictures are measured anew."""
    taken = set(stage.config.get(taking.CONFIG, ()))
    return bool(taken) and any(row.id in taken for part in parts for row in part.store.rejected("inspect"))


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
