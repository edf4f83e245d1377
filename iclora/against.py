"""Which pictures earlier runs use, so that a run against them does not use them again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from iclora import earlier
from iclora.settings import Settings
from pipeline.errors import BadInput
from pipeline.records import Exported, Group, Record
from pipeline.review import reviews
from pipeline.stages.group import Used
from pipeline.store import Store, is_current
from pipeline.wording import command


def used_by(folders: Sequence[str], own: Path) -> list[Used]:
    """The pictures of each run's data set, or of all its groups if it has none yet.

    Args:
        folders: of the runs.
        own: the folder of the run that asks.

    Raises:
        BadInput: there is no such run, it can't be read, has no groups yet, or is the one that asks.
    """
    return [_used(Path(folder), own) for folder in folders]


def _used(home: Path, own: Path) -> Used:
    if home.resolve() == own.resolve():
        raise BadInput(f"a run can't be made against itself; name the folder of an earlier run in place of {home}.")
    known = earlier.settings_of(home)
    if known is None:
        raise BadInput(f"there is no run in {home}, which --against names; give the folder of an earlier run.")
    try:
        settings = Settings.model_validate(known)
    except ValidationError as error:
        raise BadInput(f"the settings of the run in {home} can't be read ({error.error_count()} faults).") from error
    again = command(["iclora", "dataset", settings.task, "--out", str(home)])
    if not is_current(home):
        raise BadInput(
            f"the tables of the run in {home} are gone or were made by another version of iclora; '{again}' derives "
            "them again."
        )
    with Store(home) as store:
        records = _records(store, settings)
    if not records:
        raise BadInput(f"the run in {home} has no groups yet, so nothing is known to be used; '{again}' forms them.")
    return Used(str(home), home, tuple(records))


def _records(store: Store, settings: Settings) -> list[Record]:
    mark = store.mark("export")
    if mark and mark.done and (exported := {row.grid for row in store.items(Exported, "exported")}):
        groups = [grid.group for grid in reviews.grids(store, settings.load_task()) if grid.id in exported]
    else:
        groups = store.items(Group, "groups")
    return list({record.id: record for group in groups for record in group.records}.values())
