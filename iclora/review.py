"""What a run shows a reviewer, and what a reviewer's decisions would teach it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from iclora.stages import STAGES
from pipeline.consistency import evidence, teaching, verdict
from pipeline.consistency.similarity import Encoder
from pipeline.errors import BadInput
from pipeline.progress import LOG
from pipeline.records import Record, Row
from pipeline.review import (
    agreement,
    contact_sheet,
    coverage,
    csv_table,
    decisions,
    rejections,
    reviews,
    taking,
    thumbnails,
)
from pipeline.review.decisions import Unmatched
from pipeline.task import Task

if TYPE_CHECKING:
    from iclora.run import Run


def write(run: Run) -> Path | None:
    """Writes `captions.csv` and `review.html` from the run's state.

    Returns:
        Where the earlier table is now, if it held edits that were never applied.
    """
    rows = run.reviewed()
    LOG.info("writing captions.csv and review.html")
    fresh = run.folder / "captions.new.csv"
    csv_table.write_csv(rows, run.task, fresh)
    set_aside = _exchange(fresh, run.folder / "captions.csv", rows, run.task)
    rejected = {name: run.store.rejected(name) for name in STAGES if name not in ("filter", "export")}
    pictured = rejections.pictured(rejected, run.store.items(Record, "collected"))
    small = thumbnails.make(pictured, run.folder)
    thumbnails.sweep(run.folder, small.values(), [row.grid.path for row in rows])
    sheet = contact_sheet.Sheet(
        rows=rows,
        rejected=rejected,
        task=run.task,
        command=run.command_to_apply,
        page_command=run.command("review", "--serve"),
        thumbnails=small,
        coverage=coverage.measure(rows, run.store.items(Record, "records"), run.task),
    )
    contact_sheet.write(sheet, run.folder / "review.html")
    return set_aside


def _exchange(fresh: Path, table: Path, rows: Sequence[Row], task: Task) -> Path | None:
    """Puts a fresh table in the place of the earlier one, which somebody may be saving at this very moment.

    The earlier one is moved away first and looked at then: what is saved before goes with it, and what is saved after
    is found in its place and moved away as well.

    Returns:
        Where the earlier table is now, if it held edits that were never applied.
    """
    old, kept = table.with_name("captions.old.csv"), None
    while True:
        if old.exists():  # also if an earlier command was killed
            seen = _state(old)
            if csv_table.has_edits(old, rows, task):
                names = (table.with_name(f"captions.not-applied-{number}.csv") for number in itertools.count(1))
                kept = old.rename(next(name for name in names if not name.exists()))
            elif _state(old) == seen:
                old.unlink()
        elif table.exists():
            with suppress(FileNotFoundError):  # deleted just now
                table.rename(old)
        elif _placed(fresh, table):
            return kept


def _state(file: Path) -> tuple[int, int]:
    """Changes when somebody writes into the file."""
    found = file.stat()
    return found.st_mtime_ns, found.st_size


def _placed(fresh: Path, table: Path) -> bool:
    """Gives the fresh table its name, unless somebody has saved one of that name just now."""
    try:
        os.link(fresh, table)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        fresh.rename(table)
    else:
        fresh.unlink()
    return True


def unmatched(run: Run) -> Sequence[Unmatched]:
    """Decisions that fit no grid of the run as it is now, then those on pictures that fit none."""
    return [*reviews.decided(run.store, run.task).unmatched, *taking.unmatched(run.store)]


def remarks(run: Run) -> list[str]:
    """What a person should know about their decisions, one sentence each."""
    found, said = [], reviews.decided(run.store, run.task)
    file = run.folder / decisions.FILE
    if run.earlier:
        found.append(
            f"run.db was damaged or made by another version of iclora: it is kept as {run.earlier}, what you decided "
            f"is in {file}, and everything else was derived again."
        )
    if run.set_aside:
        found.append(f"captions.csv had edits that were not applied; it is kept as {run.set_aside}.")
    kinds = {"grid": len(said.unmatched), "picture": len(taking.unmatched(run.store))}
    if waiting := sum(kinds.values()):
        fits, they = ("fits", "it is") if waiting == 1 else ("fit", "they are")
        nothing = " or ".join(kind for kind, count in kinds.items() if count)
        found.append(
            f"{waiting} of your decisions {fits} no {nothing} of this run; {they} kept in {file}; list them: "
            f"{run.command('show', 'unmatched')}"
        )
    if agreed := agreement.measure(said.words.values()):
        found.append(f"Reviewers: {agreement.line(agreed)}.")
    if lines := decisions.read(run.folder).unreadable:
        found.append(
            f"line {', '.join(map(str, lines))} of {file} can't be read, perhaps cut off while it was written; "
            "the file was left as it is, and what its other lines say holds."
        )
    return found


def preview_learning(run: Run) -> teaching.Preview:
    """What would change if the decisions taught the rule of what belongs together.

    Raises:
        BadInput: there are too few decisions, or the run has no rule.
        MissingWeights: the scorer's model is not available.
    """
    decided = run.decided()
    if lacking := teaching.lacking(decided):
        raise BadInput(f"{lacking}; go on deciding with {run.command('review', '--serve')}.")
    captions = reviews.captions(run.store, run.task, run.counter)
    by_id = {grid.id: grid for grid in reviews.grids(run.store, run.task)}
    grids = [by_id[one.grid] for one in captions]
    encoder = Encoder(run.scorer, run.store.cache, run.folder) if run.scorer else None
    vectors = encoder.vectors(grids, captions) if encoder else None
    before, after = (verdict.verdict(run.task, grids, captions, vectors, known) for known in ({}, decided))
    settled = [one.grid for one in captions if evidence.settled(one.parts)]
    return teaching.compare(before, after, grids, decided, settled)
