"""The stages of a run in order: for each its parameters, its inputs, and the hash of what these depend on."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from iclora import against, merging, offline
from pipeline import plugins
from pipeline.cache import key_of
from pipeline.captioning import contract
from pipeline.captioning.jpegs import Ready
from pipeline.consistency import teaching
from pipeline.consistency.scorers.base import kind_of
from pipeline.engines import base
from pipeline.engines.base import Stage
from pipeline.errors import BadInput, ToolkitError
from pipeline.progress import LOG, Progress, silent
from pipeline.records import Caption, Grid, Group, Record
from pipeline.review import reviews, taking
from pipeline.sources import gathering, parts
from pipeline.sources.base import Item
from pipeline.stages import caption, collect, compose, export, filter, group, inspect

if TYPE_CHECKING:
    from iclora.run import Run
    from pipeline.store import Store
    from pipeline.task import Task


class Work(NamedTuple):
    """One stage as a run needs it now."""

    stage: Stage[Any]
    inputs: Sequence[Any]
    upstream: str
    """Hash of the inputs' content."""


def _collect(run: Run, found: Sequence[Item], progress: Progress) -> Work:
    items = found or collect.find([offline.draw_source(run.task, run.folder, progress)])
    known = run.store.items(Record, "collected")
    shots = taking.shots(run.folder)
    return Work(collect.stage(run.task, items, run.folder, known, run.engine.workers, shots), items, "")


def _inspect(run: Run) -> Work:
    records = run.store.items(Record, "collected")
    stage = inspect.stage(run.task, run.folder, run.engine.workers, taking.among(records, run.folder))
    return Work(stage, records, run.store.digest("collected"))


def _group(run: Run) -> Work:
    records = run.store.items(Record, "records")
    return Work(group.stage(grouping(run, records)), records, run.store.digest("records"))


def grouping(run: Run, records: Sequence[Record]) -> group.Parameters:
    """What the groups of a run depend on besides its records.

    Args:
        records: these.
    """
    strategy = plugins.find(plugins.GROUPING, run.task.group.by)
    used = tuple(against.used_by(run.settings.against, run.folder))
    taken = taking.among(records, run.folder)
    return group.Parameters(run.task, strategy, run.scorer, run.folder, run.store.cache, used, taken)


def _compose(run: Run) -> Work:
    drawn = run.store.items(Grid, "grids")
    stage = compose.stage(run.task, run.folder, run.engine.workers, drawn, _ready(run))
    return Work(stage, run.store.items(Group, "groups"), run.store.digest("groups"))


def _ready(run: Run) -> Ready | None:
    """Keeps panels as the run's captioner sends them, if it does."""
    try:
        form = contract.form_of(run.captioner)
    except ToolkitError:  # composing needs no captioner; what is wrong with it, `caption` says
        return None
    return Ready(run.store.cache, form) if form else None


def _caption(run: Run) -> Work:
    grids, earlier = run.store.items(Grid, "grids"), run.store.items(Caption, "captions")
    stage = caption.stage(captioning(run, caption.places(grids)), earlier)
    return Work(stage, grids, run.store.digest("grids"))


def captioning(run: Run, places: Mapping[str, int]) -> caption.Parameters:
    """What the captions of a run depend on.

    Args:
        places: by grid id, its place in the run.
    """
    return caption.Parameters(run.task, run.captioner, run.folder, run.store.cache, run.counter, places)


def _filter(run: Run) -> Work:
    grids, captions = reviews.grids(run.store, run.task), reviews.captions(run.store, run.task, run.counter)
    for grid in grids:
        if not (run.folder / grid.path).is_file():  # a reviewer has changed its panels; `compose` wrote the others
            compose.redraw(grid, run.task.layout.fit, run.folder)
    decided = run.decided()
    taught = decided if run.task.filter.learn and not teaching.lacking(decided) else {}
    stage = filter.stage(run.task, grids, run.scorer, run.folder, run.store.cache, taught)
    seen = [(one.grid, one.text, asdict(one.parts) if one.parts else None) for one in captions]
    return Work(stage, captions, key_of(captions=seen, pictures=[grid.path for grid in grids]))


def _export(run: Run) -> Work:
    out = {row.id for row in run.store.rejected("filter")}
    rows = [row for row in run.reviewed() if row.id not in out or row.decision == "keep"]
    redraw = partial(compose.redraw, fit=run.task.layout.fit, folder=run.folder)
    now, mark = state(run.store, run.task), run.store.mark("export")
    earlier = mark.facts.get(export.CONTENTS) if mark else None
    stage = export.stage(run.task, run.folder, _facts(run), run.counter, redraw=redraw, state=now, earlier=earlier)
    return Work(stage, rows, now)


_LATER: dict[str, Callable[[Run], Work]] = {
    "inspect": _inspect,
    "group": _group,
    "compose": _compose,
    "caption": _caption,
    "filter": _filter,
    "export": _export,
}
"""How each stage that reads the run's own tables is set up, in order."""
STAGES = ("collect", *_LATER)


def state(store: Store, task: Task) -> str:
    """A hash of what a run is: how far its stages have come with what, its captions, scores and decisions, and its
    settings, except those that leave a data set as it is."""
    marks = [(mark.name, mark.fingerprint, mark.done) for name in STAGES[:-1] if (mark := store.mark(name))]
    settings = task.model_dump(mode="json", exclude={"captioner", "scorer", "train", "engine"})
    tables = [store.digest(table) for table in ("captions", "scores")]
    decided = {grid: asdict(review) for grid, review in reviews.decided(store, task).reviews.items()}
    return key_of(marks=marks, settings=settings, tables=tables, decided=decided)


def work(run: Run, name: str, found: Sequence[Item], progress: Progress) -> Work:
    """Sets up a stage.

    Args:
        found: what `check` found.
        progress: of the films that are drawn for a run without sources.
    """
    needed = _collect(run, found, progress) if name == "collect" else _LATER[name](run)
    if run.merging is None:
        return needed
    return needed._replace(stage=merging.answered(needed.stage, run.merging.parts, run.folder))


def check(run: Run, wanted: Sequence[str]) -> list[Item]:
    """Asks for whatever the stages need, before any work is done.

    Returns:
        What is in the sources, if `collect` is wanted and the run has sources of its own.

    Raises:
        ToolkitError: a setting is wrong, sources, weights or exporters are missing, or there are too few pictures for
            the engine.
    """
    task = run.task
    found: list[Item] = []
    if "collect" in wanted:
        collect.check(task)
    if run.settings.sources and "collect" in wanted:
        found = items(run)  # first: weights may take a download
    if "group" in wanted:
        against.used_by(run.settings.against, run.folder)
    if "caption" in wanted:
        run.captioner.identity()
    if {"group", "filter"} & set(wanted) and run.scorer:
        kind_of(run.scorer)
    if "export" in wanted:
        export.chosen(task)
    picky = run.engine.least and task.pictures.animated == "first"  # else it need not be known what a million items are
    if picky and found and all(map(_is_one_picture, found)):
        run.engine.check(len(found))
    return found


def items(run: Run) -> gathering.Items:
    """What is in the run's own sources, or in its part of them.

    Raises:
        BadInput: they can't be opened, there is nothing in them, or the part can't be told from the others any more.
    """
    if run.merging is not None:
        return run.merging.items
    LOG.info("looking for films and pictures")
    found, part = collect.find([*map(Path, run.settings.sources)], run.task), run.settings.part
    if part is None:
        return found
    try:
        return parts.between(found, part.first, part.until)
    except BadInput as error:
        raise BadInput(f"{error}; cut them again with 'iclora shard', into another folder.") from error


def is_current(run: Run, name: str, found: Sequence[Item]) -> bool:
    """Whether a stage is done with the inputs, settings and packages of now.

    Args:
        found: as for `work`.
    """
    needed, mark = work(run, name, found, silent), run.store.mark(name)
    return bool(mark and mark.done and mark.fingerprint == base.fingerprint(needed.stage, needed.upstream))


def _is_one_picture(item: Item) -> bool:
    """Whether no more than one record can come of an item, by its name; a film or a document gives many."""
    return bool(item.fault) or (mimetypes.guess_type(item.name)[0] or "").startswith("image/")


def _facts(run: Run) -> dict[str, Any]:
    """What the data set's card says about models and thresholds."""
    marks = {name: mark.facts for name in ("caption", "filter") if (mark := run.store.mark(name))}
    return {"captioner": marks.get("caption", {}).get("captioner", {}), **marks.get("filter", {})}
