"""Records -> Groups: the source's own structure makes a group; similarity only vetoes copies and strangers.

Groups are formed twice: first by structure alone, which shows what is usual in this run and whether its groups are more
than chance; then with strangers vetoed, whose companions form other groups where they can. So no captions of strangers
are paid for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.cache import Cache
from pipeline.consistency import verdict
from pipeline.consistency.scorers.base import Scorer
from pipeline.consistency.similarity import Encoder
from pipeline.engines.base import Facts, Stage
from pipeline.errors import BadInput
from pipeline.grouping.choice import choose
from pipeline.grouping.pictures import Pictures
from pipeline.grouping.strategies import sets
from pipeline.grouping.strategies.base import Formed, Strategy, sequence_of
from pipeline.grouping.vetoes import Vetoes, drop_copies
from pipeline.plugins import Plugin
from pipeline.records import Group, Record, Rejected, content_id
from pipeline.task import Task


@dataclass(frozen=True)
class Parameters:
    """What the stage depends on besides its records."""

    task: Task
    strategy: Plugin
    scorer: Scorer | None
    """Whose image vectors tell strangers; without one the colours do."""
    folder: Path
    """The run's folder."""
    cache: Cache


def stage(task: Task, strategy: Plugin, scorer: Scorer | None, folder: Path, cache: Cache) -> Stage[Record]:
    """The group stage.

    Args:
        strategy: the plug-in that `task.group.by` names.
    """
    config = {
        "task": task.name,
        "size": task.grid_layout.size,
        "group": task.group.model_dump(exclude={"prove"}),
        "strategy": strategy.identity,
        "grids": task.grids,
        "scorer": [scorer.identity(), task.layout.model_dump()] if scorer else "none",  # it sees images as panels
    }
    run = partial(group, parameters=Parameters(task, strategy, scorer, folder, cache))
    return Stage("group", "groups", run, config)


def group(records: Sequence[Record], *, parameters: Parameters) -> Iterator[Group | Rejected | Facts]:
    """All groups of a run, ready-made sets first; then what they say about strangers, if there are enough of them.

    Raises:
        BadInput: the strategy of another package breaks its contract.
    """
    task, scorer = parameters.task, parameters.scorer
    vectors = None
    if scorer and records:
        vectors = Encoder(scorer, parameters.cache, parameters.folder).sources(records, task.layout)
    pictures = Pictures.of(task, records, vectors)
    vetoes = Vetoes(task, pictures)
    whole, incomplete = _divide(sets.form([one for one in records if one.position.set], task, vetoes))
    single = [one for one in records if not one.position.set]
    strategy: Strategy = parameters.strategy.load()
    fresh, copies = (single, []) if strategy.COPIES else drop_copies(single, pictures, task.group)
    formed, left = _form(parameters, strategy, fresh, vetoes)
    vetoes = vetoes.learn([one.records for one in formed], [sequence_of(one.records[0]) for one in formed])
    if vetoes.found:
        formed, left = _form(parameters, strategy, fresh, vetoes)
    groups = [_group(one, task, pictures) for one in formed]
    chosen, spare = choose(groups, task.grids[1] - len(whole), task, pictures)
    yield from (_group(one, task, pictures) for one in whole)
    yield from chosen
    yield from (*incomplete, *left, *copies, *spare)
    if said := strategy.remarks(fresh, task) if hasattr(strategy, "remarks") else ():
        yield Facts({"remarks": said})
    if vetoes.found:
        yield Facts({"belonging": verdict.facts(vetoes.found)})


def _form(
    parameters: Parameters, strategy: Strategy, records: Sequence[Record], vetoes: Vetoes
) -> tuple[list[Formed], list[Rejected]]:
    """
    Raises:
        BadInput: a record was lost or used twice, or a group has the wrong size.
    """
    size = parameters.task.grid_layout.size
    formed, rejected = _divide(strategy.form(records, parameters.task, vetoes))
    if wrong := next((one for one in formed if not isinstance(one.records, tuple) or len(one.records) != size), None):
        raise BadInput(
            f"{parameters.strategy} formed a group whose records are a {type(wrong.records).__name__} of "
            f"{len(wrong.records)}; they must be a tuple of {size}, the number of panels (docs/extending.md)."
        )
    ends = [record.id for one in formed for record in one.records] + [one.id for one in rejected]
    if sorted(ends) != sorted(record.id for record in records):
        raise BadInput(
            f"{parameters.strategy} got {len(records)} records and accounted for {len(ends)}: each must end in one "
            f"group of {size} or be rejected; see docs/extending.md."
        )
    return formed, rejected


def _divide(results: Iterator[Formed | Rejected]) -> tuple[list[Formed], list[Rejected]]:
    formed, rejected = list[Formed](), list[Rejected]()
    for result in results:
        if isinstance(result, Formed):
            formed.append(result)
        else:
            rejected.append(result)
    return formed, rejected


def _group(formed: Formed, task: Task, pictures: Pictures) -> Group:
    ids = [record.id for record in formed.records]
    cohesion = round(pictures.likeness(formed.records)[1], 4)
    return Group(content_id("s", task.name, *ids), task.name, formed.records, formed.why, cohesion)
