"""Bringing a run's stages up to date, in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iclora import exported, report, stages
from iclora.stages import STAGES
from pipeline.consistency import verdict
from pipeline.engines import base
from pipeline.errors import BadInput, EmptyResult
from pipeline.stages import caption as captioning
from pipeline.store import Mark, write_settings

if TYPE_CHECKING:
    from iclora.run import Run
    from pipeline.progress import Progress
    from pipeline.sources.base import Item


@dataclass(frozen=True)
class StageResult:
    """What a stage came to."""

    name: str
    entered: int
    """Inputs, or what they became: the shots of films, say."""
    kept: int
    rejected: Mapping[str, int]
    """How many were rejected, by reason."""
    seconds: float
    worked: bool
    """Whether there was anything to do."""
    facts: Mapping[str, Any]
    """What the stage reports beyond counts: models, thresholds, error rates."""


def advance(
    run: Run, to: str, start: str, progress: Progress, on_result: Callable[[StageResult], None]
) -> list[StageResult]:
    """Brings every stage from `start` up to `to` up to date; `Run.advance` says the rest."""
    for name in (start, to):
        if name not in STAGES:
            raise BadInput(f"no stage named '{name}' (there are {', '.join(STAGES)}).")
    wanted = STAGES[STAGES.index(start) : STAGES.index(to) + 1]
    _must_have_begun(run, start)
    found = stages.check(run, wanted)
    results = []
    with run.store.working(), run.engine.working(run.folder, [*map(Path, run.settings.sources)]):
        write_settings(run.folder, run.settings.model_dump(mode="json", exclude_unset=True))
        for name in wanted:
            before = run.store.mark(name)
            mark = _work(run, name, found, progress)
            found = []  # only `collect` needs them, and there may be a million
            if name == "collect":
                run.engine.check(mark.kept)
            report.write(run, name)
            results.append(_result(run, mark, worked=mark != before))
            on_result(results[-1])
            if name == "filter":
                run.write_review()
            if name in ("group", "filter"):
                _stop_at_chance(run, mark)
        if results and not results[-1].kept:
            raise EmptyResult(exported.nothing_left(run, results[-1]))
        if to == "caption" and captioning.lacks_all(results[-1].facts, results[-1].kept):
            raise EmptyResult(" ".join(captioning.lines(results[-1].facts)))
    return results


def _work(run: Run, name: str, found: Sequence[Item], progress: Progress) -> Mark:
    """Brings one stage to its end; what it works on is gone when it is done."""
    work = stages.work(run, name, found, progress)
    return base.run(work.stage, work.inputs, run.store, upstream=work.upstream, progress=progress, engine=run.engine)


def _must_have_begun(run: Run, start: str) -> None:
    """
    Raises:
        BadInput: the stage before `start` has never been run, or its result was deleted.
    """
    if start != STAGES[0] and not run.store.mark(STAGES[STAGES.index(start) - 1]):
        raise BadInput(
            f"the run in {run.folder} has nothing that the stage {start} could begin with; "
            f"'{run.command('dataset')}' runs all stages, and finds what you have decided before."
        )


def _result(run: Run, mark: Mark, *, worked: bool) -> StageResult:
    rejected = run.store.rejections(mark.name)
    return StageResult(mark.name, mark.entered, mark.kept, rejected, mark.seconds, worked, mark.facts)


def _stop_at_chance(run: Run, mark: Mark) -> None:
    """
    Raises:
        BadInput: the groups are no more alike than chance, and nobody has said that this doesn't matter. Sets that
            came as such, on which `group` reports nothing, were put together by somebody.
    """
    formed = run.store.mark("group")
    if not run.task.group.prove or not (formed and "belonging" in formed.facts):
        return
    if why := verdict.at_chance(mark.facts.get("belonging", {})):
        raise BadInput(
            f"{why}, so nothing was {'captioned' if mark.name == 'group' else 'exported'}: the source has no "
            "structure, or all of it is alike; put what belongs together into a folder, a film or names of its "
            "own, or continue anyway with --set group.prove=false."
        )
