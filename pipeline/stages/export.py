"""Kept Rows -> data set folder: data, trainers' configs, card. The old folder stays until the new one is complete."""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline import families, files, plugins
from pipeline.dataset import card, checksums, parquet, portable, samples, split, uses
from pipeline.dataset.samples import Config, Dataset
from pipeline.dataset.uses import Target
from pipeline.engines.base import Facts, Stage
from pipeline.errors import BadInput
from pipeline.exporters import base
from pipeline.exporters.base import Exporter
from pipeline.pixels import png
from pipeline.plugins import Plugin, extras
from pipeline.records import Exported, Grid, Rejected, Row
from pipeline.task import Task
from pipeline.text.counters import TokenCounter

DATA = "imagefolder"
"""The exporter that writes the data; the others write next to it."""
OLD = "dataset.old"
"""Where the old folder is while the new one takes its place."""
TRAINERS = "TRAINERS.md"
CONTENTS, STATE = "contents", "state"
SET_ASIDE, GRIDS_ASIDE = "set aside", "grids set aside"
"""Facts of an export: the digest of its data, what the run was at the time, and where files of an earlier data set, and
grids that somebody has altered, were put that nothing here could make again."""


@dataclass(frozen=True)
class Parameters:
    """What a data set folder depends on besides its rows."""

    task: Task
    folder: Path
    """The run's folder."""
    facts: Mapping[str, Any]
    """What the card says of the models and thresholds that the rows went through."""
    redraw: Callable[[Grid], None]
    """Draws a grid's picture again."""
    state: str
    """A hash of what the run is."""


def stage(  # noqa: PLR0913  (what a data set depends on)
    task: Task,
    run: Path,
    facts: Mapping[str, Any],
    counter: TokenCounter,
    *,
    redraw: Callable[[Grid], None],
    state: str,
    earlier: str | None,
) -> Stage[Row]:
    """The export stage.

    Args:
        facts: what the card says of the models and thresholds that the rows went through.
        counter: what decided which edited captions are too long.
        redraw: draws a grid's picture again from its sources, or raises BadInput.
        state: a hash of what the run is, which the facts keep: with it the run can tell later whether it has changed.
        earlier: digest of the data that the run exported before; None if it has exported nothing.
    """
    config = {
        "exporters": [plugin.identity for plugin in chosen(task)],
        "task": task.model_dump(mode="json", exclude={"engine"}) | {"base": families.identity(task.base)},
        "home": str(run.resolve()),
        "facts": facts,
        "counter": counter.identity,
    }
    work = partial(export, parameters=Parameters(task, run, facts, redraw, state))
    return Stage(
        "export",
        "exported",
        work,
        config,
        intact=lambda: earlier is not None and is_intact(run / "dataset", earlier),
        facts=_sides,
        expands=task.export.use == uses.PANELS,
    )


def is_intact(folder: Path, contents: str) -> bool:
    """Whether a data set is there as it was exported; after an export of nothing, whether none is there.

    Args:
        contents: digest of the export's data; empty if it exported nothing.
    """
    return not checksums.faults(folder, contents) if contents else not folder.exists()


def export(rows: Sequence[Row], *, parameters: Parameters) -> Iterator[Exported | Rejected | Facts]:
    """Writes the data set folder of the rows that are kept; the others are rejected with the reason.

    If no row is kept, there is no data set any more: an earlier one is set aside.
    """
    folder, old = parameters.folder / "dataset", parameters.folder / OLD
    if old.exists() and not folder.exists():  # killed between the two renames of `write`
        old.rename(folder)
    out = {row.id: _left_out(row) for row in rows if not _is_kept(row)}
    grids_aside = _free(parameters.folder / "grids", "altered")
    hashes, damaged = _check([row for row in rows if row.id not in out], parameters, grids_aside)
    out |= damaged
    targets, without = _targets([row for row in rows if row.id not in out], parameters.task)
    kept = [row for row in rows if targets.get(row.id)]
    aside = _save_edits(folder) if kept else _set_aside(folder)
    written = write(kept, parameters.task, parameters.folder, parameters.facts, hashes, targets).samples if kept else ()
    facts = {CONTENTS: checksums.digest(folder), STATE: parameters.state}
    places = {SET_ASIDE: aside, GRIDS_ASIDE: grids_aside if grids_aside.exists() else None}
    yield Facts(facts | {name: str(place) for name, place in places.items() if place})
    for sample in written:
        panel = sample.target.panel
        yield Exported(sample.row.id, sample.file, 0 if panel is None else panel + 1)
    yield from (*out.values(), *without)


def _targets(rows: Sequence[Row], task: Task) -> tuple[dict[str, list[Target]], list[Rejected]]:
    """By row, the samples that it gives; and rejections of what has no reference."""
    found = {row.id: list(uses.targets(row, task)) for row in rows}
    targets = {name: [one for one in each if isinstance(one, Target)] for name, each in found.items()}
    return targets, [one for each in found.values() for one in each if isinstance(one, Rejected)]


def _sides(exported: Sequence[Exported]) -> dict[str, Any]:
    """How many pictures are on each side of the split, and of how many grids where they are panels."""
    counts = Counter(Path(one.file).parent.name for one in exported)
    grids = {"grids": len({one.grid for one in exported})} if any(one.panel for one in exported) else {}
    return {**{side: counts[side] for side in (split.TRAIN, split.HELD_OUT)}, **grids}


def chosen(task: Task) -> list[Plugin]:
    """The exporters, that of the data first.

    Raises:
        BadInput: the task names one that does not exist or is broken, or a package is missing.
    """
    if uses.has_references(task):
        extras.require(f"export.use={task.export.use}", parquet.EXTRA)
    if task.export.formats is None:
        found = [plugin for plugin, _ in plugins.usable(plugins.EXPORTERS)]
        return sorted(found, key=lambda plugin: plugin.name != DATA)
    found = [plugins.find(plugins.EXPORTERS, name) for name in dict.fromkeys((DATA, *task.export.formats))]
    for plugin in found:
        plugin.load()
    return found


# ---- the folder


def write(
    rows: Sequence[Row],
    task: Task,
    run: Path,
    facts: Mapping[str, Any],
    hashes: Mapping[str, str] = {},
    targets: Mapping[str, Sequence[Target]] | None = None,
) -> Dataset:
    """Writes one or more rows to `dataset/`. If killed, it leaves either the old folder or the new one.

    Args:
        hashes: of the files of grids, by row, as far as they are known.
        targets: by row, the samples that it gives; all that it can give, if not given.

    Raises:
        BadInput: what was written trains on something that it holds out.
    """
    folder, part, old = run / "dataset", run / "dataset.part", run / OLD
    for leftover in (part, old):
        shutil.rmtree(leftover, ignore_errors=True)
    part.mkdir()
    data = samples.gather(rows, task, run, split.divide(rows, task), targets)
    exporter: Exporter = chosen(task)[0].load()
    exporter.write(data, part)
    _configure(data, part)
    files.write(part / "README.md", card.write(data, facts))
    split.check(part)
    whole = [sample for sample in data.samples if sample.target.panel is None]
    known = {sample.file: hashes[sample.row.id] for sample in whole if sample.row.id in hashes}
    checksums.write(part, [path.relative_to(part).as_posix() for path in part.rglob("*") if path.is_file()], known)
    files.sync_folder(part)
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    files.sync_names(run)
    shutil.rmtree(old, ignore_errors=True)
    return data


def rewrite(folder: Path, task: Task) -> list[str]:
    """Writes the configs of a finished data set anew, and its list of checksums; gives the names of the configs.

    Args:
        task: as the data set keeps it, perhaps with other settings of the training, which it keeps from now on.

    Raises:
        BadInput: the folder is not a whole data set.
    """
    data = portable.read(folder, task)
    written = [portable.FILE, TRAINERS, *(file for config in _configure(data, folder) for file in config.files)]
    texts = [Path(sample.file).with_suffix(".txt").as_posix() for sample in data.samples]
    named = [*(sample.file for sample in data.samples), *texts, *(f"{side}/metadata.jsonl" for side in data.sides)]
    written += parquet.files(data)
    listed = {name for name in checksums.read(folder) if (folder / name).is_file()}
    checksums.write(folder, listed.union(named, written))
    return sorted(written)


def _configure(data: Dataset, folder: Path) -> list[Config]:
    """Writes what follows from the data alone: the task, the table, the trainers' configs, and the page on these."""
    note = [
        "The task of this data set. iclora reads it to write the configs anew (iclora export --dataset .) or to train."
    ]
    files.write(folder / portable.FILE, base.comment(note) + base.as_toml(portable.content(data.task)))
    parquet.write(data, folder)
    configs = [_configured(plugin, data, folder) for plugin in chosen(data.task) if plugin.name != DATA]
    files.write(folder / TRAINERS, card.write_trainers(configs))
    return configs


def _configured(plugin: Plugin, data: Dataset, folder: Path) -> Config:
    config: Config = plugin.load().write(data, folder)
    if lacking := [file for file in config.files if not (folder / file).is_file()]:
        raise BadInput(f"{plugin} lists {', '.join(lacking)} and has not written it; correct it, or leave it out.")
    return config


# ---- what would be lost


def _set_aside(folder: Path) -> Path | None:
    """Renames a data set that is no longer that of the run; gives its new place, None if there is none."""
    return folder.rename(_free(folder, "stale")) if folder.exists() else None


def _save_edits(folder: Path) -> Path | None:
    """Copies files of a data set that somebody has edited, before it is written anew; gives the place of the copies."""
    edited = checksums.edited(folder)
    if not edited:
        return None
    aside = _free(folder, "edited")
    for name in edited:
        (aside / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, aside / name)
    files.sync_folder(aside)
    return aside


def _free(folder: Path, why: str) -> Path:
    names = (folder.with_name(f"{folder.name}.{why}-{number}") for number in itertools.count(1))
    return next(name for name in names if not name.exists())


# ---- which rows


def _is_kept(row: Row) -> bool:
    """An empty caption teaches nothing and some trainers fail on it, whatever was decided."""
    return row.decision == "keep" and bool(row.caption.text.strip())


def _left_out(row: Row) -> Rejected:
    if row.review and row.decided and row.decision != "keep":
        reason = "dropped in review" if row.decision == "drop" else "unsure in review"
        return Rejected(row.id, row.grid.path, reason, f"{row.id} is marked {row.decision}. {row.review.note}".strip())
    if not row.caption.text.strip():
        why = "is marked keep and has no caption." if row.decided else f"has no caption: {_problems(row)}."
        return Rejected(row.id, row.grid.path, "no caption", f"{row.id} {why}")
    return Rejected(row.id, row.grid.path, "caption problems", f"{row.id}: {_problems(row)}.")


def _problems(row: Row) -> str:
    return "; ".join(row.caption.problems) or row.caption.failure or "none was found"


def _check(rows: Sequence[Row], parameters: Parameters, aside: Path) -> tuple[dict[str, str], dict[str, Rejected]]:
    """Decodes every grid whole; draws those again that are damaged, or are not what was composed.

    Args:
        aside: a folder that is made for grids that somebody has altered.

    Returns:
        By row, the hashes of the files, and rejections where that can't be done.
    """
    with ThreadPoolExecutor() as pool:
        found = zip(rows, pool.map(partial(_checked, parameters=parameters, aside=aside), rows), strict=True)
        checked = {row.id: result for row, result in found}
    hashes = {name: result for name, result in checked.items() if isinstance(result, str)}
    return hashes, {name: result for name, result in checked.items() if isinstance(result, Rejected)}


def _checked(row: Row, parameters: Parameters, aside: Path) -> str | Rejected:
    """The hash of the file with a row's picture, which may just have been drawn again; else why there is none."""
    grid = row.grid
    file, canvas = parameters.folder / grid.path, grid.layout.canvas
    found = png.check(file, canvas)
    if found and grid.pixels in ("", found.pixels):
        return found.file
    fault = f"The picture {grid.path} {'was altered' if found else 'is damaged'}"
    if found and file.stat().st_nlink == 1:  # else it is one with a file of the data set, of which a copy is kept
        aside.mkdir(exist_ok=True)
        shutil.copyfile(file, aside / file.name)
    try:
        parameters.redraw(grid)
    except BadInput as error:
        return Rejected(row.id, grid.path, "damaged grid", f"{fault} and can't be drawn again: {error}")
    drawn = png.check(file, canvas)
    return drawn.file if drawn else Rejected(row.id, grid.path, "damaged grid", f"{fault}.")
