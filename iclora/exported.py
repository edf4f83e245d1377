"""A run's data set after its export: whether it is still that of the run, why it is empty, packing it, and its
configs anew."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from iclora import stages
from iclora.settings import load_task
from iclora.stages import STAGES
from pipeline import task
from pipeline.dataset import archive, checksums, portable, uses
from pipeline.errors import BadInput
from pipeline.progress import Progress
from pipeline.stages import export, group
from pipeline.store import Store
from pipeline.task import Given
from pipeline.wording import command

if TYPE_CHECKING:
    from iclora.advancing import StageResult
    from iclora.run import Run

NAMED = 3
"""Files that an error names."""
NOUNS = {"collect": "file", "inspect": "image", "group": "image", "compose": "group"}
"""What a stage rejects; later ones reject grids."""


def check(run: Run) -> None:
    """Whether the data set in a run's folder is what the run exported, and the run is still what it was.

    Raises:
        BadInput: it is not, with what has changed and the way on.
    """
    if not run.dataset.is_dir():
        make = run.command("export" if run.exists else "dataset")
        raise BadInput(
            f"there is no data set in {run.dataset}; make one with '{make}', or name one with --data FOLDER."
        )
    if why := _changes(run):
        anyway = command(["--data", str(run.dataset)])
        raise BadInput(
            f"the data set in {run.dataset} is not that of its run: {why}; bring it up to date with "
            f"'{run.command('export')}', or train on it as it is with {anyway}."
        )


def check_grids(run: Run) -> None:
    """As `check`, for what looks at grids that were drawn from text alone.

    Raises:
        BadInput: also if pictures of the data set have reference images.
    """
    check(run)
    if uses.has_references(run.task):
        raise BadInput(
            f"the data set in {run.dataset} has reference images (export.use={run.task.export.use}), and an evaluation "
            f"compares grids that are drawn without; export the grids with '{run.command('export')} --set "
            "export.use=grids'."
        )


def _changes(run: Run) -> str:
    if not run.exists:
        return "there is no run beside it"
    with Store(run.folder) as store:
        mark, now = store.mark("export"), stages.state(store, run.task)
    if mark is None or export.CONTENTS not in mark.facts:
        return "the run has not exported it"
    if not mark.done:
        return "the export was interrupted"
    if mark.facts[export.STATE] != now:
        return "the run or its settings have changed since the export"
    faults = checksums.faults(run.dataset, mark.facts[export.CONTENTS])
    more = f" and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
    return ", ".join(faults[:NAMED]) + more


def nothing_left(run: Run, last: StageResult) -> str:
    """The sentence on a run of which a stage has kept nothing, with the counts of what was rejected, latest first."""
    said = []
    for name in reversed(STAGES[: STAGES.index(last.name) + 1]):
        reasons = Counter(row.reason for row in run.store.rejected(name))
        if reasons:
            noun = NOUNS.get(name, "grid") + ("" if reasons.total() == 1 else "s")
            listed = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
            said.append(f"{name} rejected {reasons.total()} {noun} ({listed})")
    what = "no grid is left for a data set" if last.name == "export" else f"{last.name} has kept nothing"
    mark = run.store.mark("group")
    ways = f"; {mark.facts[group.WAYS_ON].rstrip('.')}" if mark and group.WAYS_ON in mark.facts else ""
    collected, faults = run.store.mark(STAGES[0]), run.store.rejected(STAGES[0])
    why = f"; {faults[0].detail.rstrip('.')}" if collected and not collected.kept and len(faults) == 1 else ""
    aside = last.facts.get(export.SET_ASIDE)
    moved = f"; the earlier data set is now {aside}" if aside else ""
    return (
        f"{what}: {', '.join(said) or 'nothing came in'}; '{run.command('show', 'rejected')}' names each with its "
        f"values{why}{ways}{moved}."
    )


def pack(run: Run, to: Path | None, service: str | None, progress: Progress) -> Path:
    """Packs a run's data set; `Run.pack` says the rest."""
    check(run)
    if service is not None:
        data = portable.read(run.dataset, uses.as_trained(run.task))
        named = to or run.folder / f"{run.task.name}-{service}.zip"
        return archive.pack_for(service, data, run.dataset, named, progress)
    return archive.pack(run.dataset, to or run.folder / f"{run.task.name}.tar", run.task.name, progress)


def write_configs(folder: str | Path, settings: Given = ()) -> list[str]:
    """Writes the trainers' configs and TRAINERS.md of a data set anew, from its folder alone, on any machine.

    Args:
        folder: a data set that iclora has exported, or a copy of it.
        settings: of the training (`{"train.steps": 2000}`); the data set keeps them.

    Returns:
        The names of the files that were written, sorted.

    Raises:
        BadInput: the folder is not such a data set or is damaged, or a setting is wrong or not one of the training.
    """
    home, given = Path(folder), task.parse_settings(settings)
    if not (home / portable.FILE).is_file():
        raise BadInput(
            f"{home} has no {portable.FILE}, so it is not a data set that iclora has exported; name the folder "
            "'dataset' of a run, or a copy of it."
        )
    if foreign := [key for key in given if not key.startswith("train.")]:
        raise BadInput(
            f"{', '.join(foreign)} can't be set for a finished data set, only train.*; set it in the run that made it."
        )
    return export.rewrite(home, load_task(home / portable.FILE, given))
