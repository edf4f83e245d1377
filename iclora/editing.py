"""What people change in a run's captions and decisions: edited tables, and replacements in all captions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import BadInput
from pipeline.progress import LOG
from pipeline.records import Caption
from pipeline.review import csv_table, decisions, replacing, reviews

if TYPE_CHECKING:
    import pandas as pd

    from iclora.run import Run


def find(run: Run, table: str | Path | pd.DataFrame, name: str) -> list[reviews.Change]:
    """What an edited table would change; `Run.edits` says the rest.

    Args:
        name: the reviewer's, empty for who has given none; so in all functions here.
    """
    found = run.reviewed()
    if not found:
        raise BadInput(
            f"the run in {run.folder} has no captions yet; '{run.command('dataset')}' writes them and finds what "
            "you have decided before."
        )
    if isinstance(table, str | Path):
        return csv_table.read_csv(Path(table), found, run.task, run.counter, name)
    from iclora import frames

    return frames.find_changes(table, found, run.task, run.counter, name)


def apply(run: Run, table: str | Path | pd.DataFrame, name: str) -> list[reviews.Change]:
    """Applies an edited table; `Run.apply` says the rest."""
    who = str(table) if isinstance(table, str | Path) else "python"
    with run.store.working(), decisions.deciding(run.folder):
        changes = find(run, table, name)
        reviews.decide(run.store, changes, who, name)
    return changes


def find_replacements(run: Run, old: str, new: str, *, inside_words: bool) -> list[reviews.Change]:
    """What replacing a phrase would change; `Run.replacements` says the rest."""
    rows = run.reviewed()
    LOG.info("looking for '%s'", old)
    return replacing.find(rows, run.task, run.counter, old, new, inside_words=inside_words)


def replace(run: Run, old: str, new: str, *, inside_words: bool, name: str) -> list[reviews.Change]:
    """Replaces a phrase in all captions; `Run.replace` says the rest."""
    with run.store.working(), decisions.deciding(run.folder):
        changes = find_replacements(run, old, new, inside_words=inside_words)
        reviews.decide(run.store, changes, replacing.name_of(old, new), name)
    return changes


def undo_replace(run: Run, name: str) -> replacing.Undo:
    """Takes back the last replacement; `Run.undo_replace` says the rest."""
    with run.store.working(), decisions.deciding(run.folder):
        written = {caption.grid: caption.text for caption in run.store.items(Caption, "captions")}
        events = decisions.read(run.folder).events()
        undo = replacing.undo(run.reviewed(), run.task, run.counter, events, written, name)
        reviews.decide(run.store, undo.changes, f"{replacing.UNDO}{undo.who}", name)
    return undo
