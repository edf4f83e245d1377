"""What a run shows a reviewer, and what a reviewer's decisions would teach it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from iclora.stages import STAGES
from pipeline.consistency import teaching, verdict
from pipeline.consistency.similarity import Encoder
from pipeline.errors import BadInput
from pipeline.review import contact_sheet, csv_table, reviews

if TYPE_CHECKING:
    from iclora.run import Run


def write(run: Run) -> Path | None:
    """Writes `captions.csv` and `review.html` from the run's state.

    Returns:
        Where the earlier table is now, if it held edits that were never applied.
    """
    rows = run.reviewed()
    table, set_aside = run.folder / "captions.csv", None
    if table.exists() and csv_table.has_edits(table, rows, run.task):
        names = (run.folder / f"captions.not-applied-{number}.csv" for number in itertools.count(1))
        set_aside = table.rename(next(name for name in names if not name.exists()))
    csv_table.write_csv(rows, run.task, table)
    rejected = {name: run.store.rejected(name) for name in STAGES if name not in ("filter", "export")}
    contact_sheet.write(rows, rejected, run.task, run.folder / "review.html", run.command_to_apply)
    return set_aside


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
    by_id = {grid.id: grid for grid in reviews.grids(run.store)}
    grids = [by_id[one.grid] for one in captions]
    encoder = Encoder(run.scorer, run.store.cache, run.folder) if run.scorer else None
    vectors = encoder.vectors(grids, captions) if encoder else None
    before, after = (verdict.verdict(run.task, grids, captions, vectors, known) for known in ({}, decided))
    return teaching.compare(before, after, grids, decided)
