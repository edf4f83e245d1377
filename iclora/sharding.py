"""Many machines: runs over parts of the sources (`shard`), and one run of them all (`merge`)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iclora import earlier, opening, stages
from iclora.advancing import StageResult
from iclora.merging import Merging, share
from iclora.run import Run
from iclora.settings import Part, Settings, Sources
from iclora.stages import STAGES
from pipeline.errors import BadInput
from pipeline.progress import LOG, Progress, silent
from pipeline.review import decisions
from pipeline.sources import parts
from pipeline.sources.base import Item
from pipeline.store import DATABASE, usual_folder, working, write_settings
from pipeline.task import Given


@dataclass(frozen=True)
class Shard:
    """A run over one part of the sources, which nobody has started yet."""

    folder: Path
    part: Part
    last: str
    """Address of its last item."""
    items: int
    size: float
    """In bytes, estimated where a source doesn't know them."""


def shard(  # noqa: PLR0913  (one argument per option)
    task: str | Path,
    source: Sources,
    shards: int,
    *,
    settings: Given = (),
    captioner: str | None = None,
    scorer: str | None = None,
    against: Sources | None = None,
    folder: str | Path | None = None,
) -> list[Shard]:
    """Sets up runs over parts of the sources, each in a folder `1`, `2`, ... of its own, to be worked on by as many
    machines: `open_run(task, folder="parts/3")`. `merge` makes one run of them.

    Parts are stretches of the sources' items in their order, of about the same number of bytes, and begin between two
    films or folders unless a folder is larger than a part.

    Args:
        shards: how many, at least 1.
        folder: `runs/TASK-parts` if not given.

    Other arguments are those of `open_run`.

    Raises:
        BadInput: as `open_run`; or the sources have fewer films and pictures than that, or there are other runs in the
            folder.
    """
    usual = usual_folder(str(task))
    home = usual.with_name(f"{usual.name}-parts") if folder is None else Path(folder)
    asked = Settings(task=str(task)).changed(
        sources=source, against=against, captioner=captioner, scorer=scorer, settings=settings
    )
    if not asked.sources:
        raise BadInput("there is nothing to cut into parts; name films, pictures or folders with --source.")
    found = _cut(stages.items(Run(asked, home)), shards, home)
    wanted = {one.folder: _asked(asked) | {"part": one.part.model_dump()} for one in found}
    for place, settings_ in wanted.items():
        if earlier.settings_of(place) not in (None, settings_):
            raise BadInput(f"there is another run in {place}; name another folder with --out.")
    for place, settings_ in wanted.items():
        write_settings(place, settings_)
    return found


def _cut(items: Sequence[Item], shards: int, home: Path) -> list[Shard]:
    try:
        starts = parts.cut(items, shards)
    except BadInput as error:
        raise BadInput(f"{error}; give --shards from 1 to {len(items)}.") from error
    sizes, ends = parts.sizes(items), [*starts[1:], len(items)]
    names = [*(parts.address(items[start]) for start in starts), ""]
    return [
        Shard(
            folder=home / str(number),
            part=Part(number=number, of=shards, first=names[number - 1], until=names[number]),
            last=parts.address(items[end - 1]),
            items=end - start,
            size=sum(sizes[start:end]),
        )
        for number, (start, end) in enumerate(zip(starts, ends, strict=True), start=1)
    ]


def _asked(settings: Settings) -> dict[str, Any]:
    return settings.model_dump(mode="json", exclude_unset=True)


def merge(
    task: str | Path,
    parts: Iterable[str | Path],
    *,
    folder: str | Path | None = None,
    progress: Progress = silent,
    on_result: Callable[[StageResult], None] = lambda _: None,
) -> Run:
    """Makes one run of those over all parts of the sources, and brings it to the stage that every part has come to.

    The merged run is what one run over all sources would have come to. Films are not decoded and pictures not measured
    again, no vector and no caption is made that a part has made, and rejections keep their reasons; copies across parts
    are found, and groups are chosen from all pictures. Decisions of the parts are taken over. Files are shared by hard
    links where the file system has them, so the parts may be deleted.

    Args:
        task: that of the parts.
        parts: their folders, in any order.
        folder: of the merged run; `runs/TASK` if not given.
        progress: called while it works.
        on_result: called with every stage's result as soon as it is done.

    Raises:
        BadInput: a part is missing, not up to date, or was asked for something else than the others; another process is
            at work in one; there is another run in the folder; and as `Run.advance`.
        EmptyResult: as `Run.advance`.
    """
    home = usual_folder(str(task)) if folder is None else Path(folder)
    with ExitStack() as held:
        runs = [held.enter_context(_opened(task, Path(each))) for each in parts]
        whole = _whole(runs, home)
        for run in runs:
            held.enter_context(run.store.working())
        run = Run(whole, home)
        runs.sort(key=_number)
        to = _reached(runs)
        merging = Merging(stages.items(run), runs)
        LOG.info("checking whether the parts are up to date")
        _check(merging, to)
        home.mkdir(parents=True, exist_ok=True)
        with working(home):
            for done, part in enumerate(runs):
                progress("merge", done, len(runs))
                share(part.folder, home)
                _take_over_decisions(part.folder, home)
            progress("merge", len(runs), len(runs))
        run.merging = merging
        try:
            run.advance(to, progress=progress, on_result=on_result)
        finally:
            run.merging = None
    return run


def _opened(task: str | Path, folder: Path) -> Run:
    """
    Raises:
        BadInput: there is no run, or it has not been started.
    """
    if earlier.settings_of(folder) is not None and not (folder / DATABASE).exists():
        run = opening.open_run(task, folder=folder)
        raise BadInput(f"the run in {folder} has not been started; '{run.command('dataset')}' starts it.")
    return opening.open_run(task, folder=folder, must_exist=True)


def _number(run: Run) -> int:
    assert run.settings.part is not None
    return run.settings.part.number


def _whole(runs: Sequence[Run], home: Path) -> Settings:
    """What the merged run is asked for.

    Raises:
        BadInput: the runs are not all parts of the same sources, or were asked for different things.
    """
    if not runs:
        raise BadInput("merge takes the folders of all parts, which 'iclora shard' has made.")
    if stray := next((run for run in runs if run.settings.part is None), None):
        raise BadInput(f"the run in {stray.folder} is not one of several parts; leave it out.")
    first, numbers = runs[0], sorted(map(_number, runs))
    of = first.settings.part.of if first.settings.part else 0
    if missing := sorted(set(range(1, of + 1)) - set(numbers)):
        raise BadInput(f"part {', '.join(map(str, missing))} of {of} is missing; name the folders of all parts.")
    wholes = [_without_part(run.settings) for run in runs]
    for run, whole in zip(runs, wholes, strict=True):
        if different := _difference(wholes[0], whole):
            raise BadInput(
                f"the runs in {first.folder} and {run.folder} were asked for different things ({different}); ask them "
                "for the same with --set and --unset."
            )
    chain = [run.settings.part for run in sorted(runs, key=_number)]
    if any(one and two and (one.until != two.first or one.of != two.of) for one, two in itertools.pairwise(chain)):
        raise BadInput("these parts were not cut together; name the folders of all parts of one 'iclora shard'.")
    known = earlier.settings_of(home)
    if known is not None and known != _asked(wholes[0]):
        raise BadInput(f"the run in {home} was asked for something else; name another folder with --out.")
    return wholes[0]


def _without_part(settings: Settings) -> Settings:
    return Settings.model_validate({key: value for key, value in _asked(settings).items() if key != "part"})


def _difference(one: Settings, other: Settings) -> str:
    """The first key of two settings that is not the same; empty if all are."""
    left, right = ({**_asked(each), **each.overrides, "overrides": None} for each in (one, other))
    return next((key for key in sorted({*left, *right}) if left.get(key) != right.get(key)), "")


def _reached(runs: Sequence[Run]) -> str:
    """The last stage that every part is done with.

    Raises:
        BadInput: a part has not collected its pictures yet.
    """
    reached = ""
    for name in STAGES:
        behind = [part for part in runs if not (mark := part.store.mark(name)) or not mark.done]
        if behind and not reached:
            raise BadInput(f"{_listed(behind)} is not done with {name}; '{behind[0].command('dataset')}' resumes it.")
        if behind:
            break
        reached = name
    return reached


def _listed(runs: Sequence[Run]) -> str:
    more = f" (and {len(runs) - 1} more)" if len(runs) > 1 else ""
    return f"the run in {runs[0].folder}{more}"


def _check(merging: Merging, to: str) -> None:
    """
    Raises:
        BadInput: what a part has collected or measured is not what it would collect now: files have changed, or
            settings, or versions of packages.
    """
    for part in merging.parts:
        own = part.settings.part
        assert own is not None
        mine = parts.between(merging.items, own.first, own.until)
        for name in STAGES[: min(2, STAGES.index(to) + 1)]:
            if not stages.is_current(part, name, mine):
                raise BadInput(
                    f"the run in {part.folder} is not up to date: files or versions of packages have changed since its "
                    f"stage {name}; '{part.command(to)}' brings it up to date."
                )


def _take_over_decisions(part: Path, home: Path) -> None:
    """Adds what people decided in a part and what is not known yet to the decisions of the merged run."""
    with decisions.deciding(home):
        known = set(decisions.read(home).lines)
        decisions.append(home, [line for line in decisions.read(part).lines if line not in known])
