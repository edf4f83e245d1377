"""Which picture of a run a person means, and why it is in the group that it is in, or in none."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from iclora import stages
from pipeline.errors import BadInput
from pipeline.grouping.explain import name_of
from pipeline.records import Record
from pipeline.sources.names import listed
from pipeline.stages import group

if TYPE_CHECKING:
    from iclora.run import Run

EARLIER = ("collect", "inspect")
"""Stages whose rejections come before grouping."""


def explain(run: Run, picture: str) -> list[str]:
    """The sentences on one picture.

    Args:
        picture: its path or file name, or the shot of a film: `a.mp4 shot 3`.

    Raises:
        BadInput: the run has formed no groups yet, has no such picture, or several.
    """
    mark = run.store.mark("group")
    if not mark or not mark.done:
        raise BadInput(f"the run in {run.folder} has formed no groups yet; '{run.command('group')}' does.")
    records = run.store.items(Record, "records")
    gone = {row.what: row.detail for stage in EARLIER for row in run.store.rejected(stage)}
    found = _found(picture, [*map(name_of, records), *gone])
    if found in gone:
        return [gone[found]]
    record = next(one for one in records if name_of(one) == found)
    return group.explain(record, records, stages.grouping(run, records))


def _found(picture: str, names: Iterable[str]) -> str:
    """The one name in a run that a person means.

    Raises:
        BadInput: there is none, or there are several.
    """
    known = list(dict.fromkeys(names))
    wanted = {picture, str(Path(picture).absolute())}
    matching = [
        [one for one in known if one in wanted],
        [one for one in known if one.endswith(f"/{picture}")],
        [one for one in known if PurePath(one).stem == picture],
        [one for one in known if PurePath(one.rpartition(" shot ")[0]).name == PurePath(picture).name],
    ]
    fitting = next(filter(None, matching), [])
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise BadInput(f"several pictures of the run are called '{picture}': {listed(fitting)}; name one of them.")
    short = {PurePath(one).name: one for one in known}
    near = difflib.get_close_matches(PurePath(picture).name, short, n=3, cutoff=0.4)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; 'iclora show TASK records' lists those that it has."
    raise BadInput(f"the run has no picture '{picture}'{hint}")
