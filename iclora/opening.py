"""How a run is opened: what its folder holds, and what it is asked for beyond that."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from iclora import earlier
from iclora.run import Run
from iclora.settings import Settings, Sources
from pipeline.errors import BadInput
from pipeline.store import SETTINGS, is_current, usual_folder
from pipeline.task import Given
from pipeline.wording import command


def open_run(  # noqa: PLR0913  (one argument per option)
    task: str | Path,
    source: Sources | None = None,
    *,
    settings: Given = (),
    unset: Iterable[str] = (),
    captioner: str | None = None,
    scorer: str | None = None,
    engine: str | None = None,
    against: Sources | None = None,
    folder: str | Path | None = None,
    must_exist: bool = False,
) -> Run:
    """Opens the run in a folder, or sets up a new one there; nothing is written before it is worked on.

    What is not given is as the run was last asked for, and settings merge in by key. New sources replace the earlier
    ones. Without any source the miniature draws one, and its models serve.

    Args:
        task: a task's name, or the path of a task file.
        source: a film, an image, a table, a folder, a ZIP or tar archive, or several of these; also a pattern
            (`shards/{00..09}.tar`, `data/*.parquet`), a PDF, a text file of addresses, or `hf://datasets/OWNER/NAME`.
        settings: values that replace the task file's: `{"group.near": 0}`, nested tables, or `["group.near=0"]`.
        unset: keys of settings that are taken back; also `source`, `against`, `captioner`, `scorer` and `engine`.
        captioner: `local` (the default), `server`, `sidecar`, `scripted`, or another plug-in.
        scorer: `open_clip` (the default), `none`, or another plug-in.
        engine: `local` (the default) for this machine, or `ray` for Ray Data on this machine or a cluster.
        against: folders of earlier runs; a picture that one of them uses is rejected. An empty list takes them back.
        folder: `runs/TASK` if not given.
        must_exist: refuse a folder without a run, or whose tables have to be derived again first.

    Raises:
        BadInput: no such task or plug-in, a setting is wrong (all wrong ones are named at once), what the run was asked
            for can't be read, or there is no run in the folder where there must be. If nothing is asked for, settings
            are checked only when the task is used, so that a run's tables can be read after its task file has gone.
    """
    home = usual_folder(str(task)) if folder is None else Path(folder)
    known = earlier.settings_of(home)
    if known is None and must_exist:
        raise BadInput(
            f"there is no run in {home}; start one with '{command(['iclora', 'dataset', str(task)])}', "
            "or name its folder with --out."
        )
    before = _settings(home, (known or {}) | {"task": str(task)})
    chosen = {"captioner": captioner, "scorer": scorer, "engine": engine}
    asked = before.changed(sources=source, against=against, **chosen, settings=settings, unset=unset)
    run = Run(asked, home)
    if must_exist and not is_current(home):
        raise BadInput(
            f"the tables of the run in {home} are gone or were made by another version of iclora; "
            f"'{run.command('dataset')}' derives them again, and nothing that you decided is lost."
        )
    if asked != before or not known:
        _ = run.task  # checked before anybody works with it
    return run


def _settings(home: Path, known: dict[str, Any]) -> Settings:
    try:
        return Settings.model_validate(known)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise BadInput(
            f"{home / SETTINGS} can't be used ({faults}); correct it, or delete it and give the options again."
        ) from error
