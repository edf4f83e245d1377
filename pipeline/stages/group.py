"""Records -> Groups: the source's own structure makes a group; similarity only vetoes copies and strangers.

Groups are formed twice: first by structure alone, which shows what is usual in this run and whether its groups are more
than chance; then with strangers vetoed, whose companions form other groups where they can. So no captions of strangers
are paid for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.cache import Cache, key_of
from pipeline.consistency import verdict
from pipeline.consistency.scorers.base import Scorer, kind_of
from pipeline.consistency.similarity import AT_ONCE, Encoder
from pipeline.duplicates import finding
from pipeline.duplicates.base import Copy, Limits
from pipeline.engines.base import Ahead, Facts, Stage, batches
from pipeline.errors import BadInput
from pipeline.grouping import might
from pipeline.grouping import pictures as looks
from pipeline.grouping.choice import choose
from pipeline.grouping.explain import name_of, reject
from pipeline.grouping.pictures import Pictures
from pipeline.grouping.strategies import sets
from pipeline.grouping.strategies.base import ORDER, Formed, Strategy, sequence_of
from pipeline.grouping.structure import LOOSE, ways_on
from pipeline.grouping.vetoes import Vetoes
from pipeline.plugins import Plugin
from pipeline.records import Group, Record, Rejected, content_id
from pipeline.review import taking
from pipeline.rows import Rows
from pipeline.task import Task

WAYS_ON = "ways on"
"""The fact of a run without any group that says what a person can do."""


@dataclass(frozen=True)
class Used:
    """An earlier run, whose pictures this one must not use again."""

    name: str
    """What people call it: its folder."""
    folder: Path
    records: tuple[Record, ...]
    """The pictures that it uses."""


@dataclass(frozen=True)
class Parameters:
    """What the stage depends on besides its records."""

    task: Task
    strategy: Plugin
    scorer: Scorer | None
    """Whose image vectors tell strangers and copies; without one the colours tell strangers."""
    folder: Path
    """The run's folder."""
    cache: Cache
    used: tuple[Used, ...] = ()
    taken: Set[str] = frozenset()
    """Ids of the records that a person takes in, also as copies of others and if an earlier run uses them."""


@dataclass(frozen=True)
class Outcome:
    """Everything that grouping came to."""

    whole: Sequence[Group]
    """Ready-made sets."""
    formed: Sequence[Group]
    """All groups that were formed, in order, those that are not needed included."""
    chosen: Sequence[Group]
    """Of these the ones that are."""
    rejected: Sequence[Rejected]
    vetoes: Vetoes
    facts: dict[str, object] = field(default_factory=dict)


def stage(on: Parameters) -> Stage[Record]:
    """The group stage."""
    task, strategy, scorer = on.task, on.strategy, on.scorer
    config = {
        "task": task.name,
        "size": task.grid_layout.size,
        "markers": task.markers,
        "group": task.group.model_dump(),
        "strategy": strategy.identity,
        "grids": task.grids,
        "scorer": [scorer.identity(), task.layout.model_dump()] if scorer else "none",  # it sees images as panels
        "used": [[one.name, key_of(pictures=[record.id for record in one.records])] for one in on.used],
        **taking.config(on.taken),
    }
    run = partial(group, parameters=on)

    def ahead(records: Sequence[Record]) -> Ahead:
        assert scorer
        return Ahead(
            partial(Encoder(scorer, on.cache, on.folder).sources, layout=task.layout), batches(records, AT_ONCE)
        )

    return Stage(
        "group", "groups", run, config, needs=getattr(scorer, "needs", "core"), ahead=ahead if scorer else None
    )


def group(records: Sequence[Record], *, parameters: Parameters) -> Iterator[Group | Rejected | Facts]:
    """All groups of a run, ready-made sets first; then what was left, and what is known about strangers.

    Raises:
        BadInput: the strategy of another package breaks its contract.
    """
    outcome = work(records, parameters)
    yield from (*outcome.whole, *outcome.chosen)
    yield from outcome.rejected
    if outcome.facts:
        yield Facts(outcome.facts)


def work(records: Sequence[Record], parameters: Parameters) -> Outcome:
    """Groups the records; arguments and errors are those of `group`."""
    task = parameters.task
    pictures = Pictures.of(task, records, _vectors(parameters, records, parameters.folder))
    fresh, used = _unused(records, pictures, parameters)
    single = [one for one in fresh if not one.position.set]
    strategy: Strategy = parameters.strategy.load()
    single, copies = (single, []) if strategy.COPIES else _without_copies(single, pictures, parameters)
    vetoes = Vetoes(task, pictures, None if strategy.COPIES else _limits(parameters).vectors)
    whole, incomplete = _divide(sets.form([one for one in fresh if one.position.set], task, vetoes))
    formed, left = _form(parameters, strategy, single, vetoes)
    vetoes = vetoes.learn([one.records for one in formed], [_source(one, task) for one in formed], single)
    if vetoes.found or vetoes.related:
        formed, left = _form(parameters, strategy, single, vetoes)
    groups = [_group(one, task, pictures) for one in formed]
    chosen, spare = choose(groups, task.grids[1] - len(whole), task, pictures)
    sets_ = [_group(one, task, pictures) for one in whole]
    facts: dict[str, object] = {"belonging": verdict.facts(vetoes.found)} if vetoes.found else {}
    said = list(strategy.remarks(single, task)) if hasattr(strategy, "remarks") else []
    # A strategy of another package may not heed the advice, unless it goes by the toolkit's idea of structure.
    only_loose = bool(groups) or bool(parameters.strategy.content)
    if remark := _remark(single, left, only_loose=only_loose):
        said, facts = ([*said, remark], facts) if groups or whole else (said, facts | {WAYS_ON: remark})
    facts |= {"remarks": said} if said else {}
    return Outcome(sets_, groups, chosen, (*used, *incomplete, *left, *copies, *spare), vetoes, facts)


def explain(record: Record, records: Sequence[Record], parameters: Parameters) -> list[str]:
    """What became of a record, and which groups it could have joined and what stopped it: one sentence each.

    Args:
        records: all records of the run, this one among them.
    """
    outcome = work(records, parameters)
    groups = [*outcome.whole, *outcome.formed]
    taken = {group.id for group in (*outcome.whole, *outcome.chosen)}
    read = getattr(parameters.strategy.load(), "sets", None)
    sets = read(records, parameters.task) if read else None
    found = might.Formation(groups, taken, outcome.rejected, sets)
    return list(might.reasons(record, records, found, outcome.vetoes))


def _vectors(parameters: Parameters, records: Sequence[Record], folder: Path) -> Rows | None:
    if not parameters.scorer or not records:
        return None
    return Encoder(parameters.scorer, parameters.cache, folder).sources(records, parameters.task.layout)


def _limits(parameters: Parameters) -> Limits:
    scorer = parameters.scorer
    return looks.limits(parameters.task.group, kind_of(scorer) if scorer else "")


def _unused(
    records: Sequence[Record], pictures: Pictures, parameters: Parameters
) -> tuple[list[Record], list[Rejected]]:
    """The records without those that earlier runs use."""
    gone: dict[str, Rejected] = {}
    for run in parameters.used:
        earlier = looks.look_at(run.records, _vectors(parameters, run.records, run.folder))
        for one in finding.used(pictures.looks, earlier, _limits(parameters)):
            record, other = records[one.copy], run.records[one.of]
            if taking.is_taken(record, parameters.taken):
                continue
            why = f"the run {run.name} uses it already, as {name_of(other)} ({one.how})"
            gone.setdefault(record.id, reject(record, "used before", why))
    return [one for one in records if one.id not in gone], list(gone.values())


def _without_copies(
    records: Sequence[Record], pictures: Pictures, parameters: Parameters
) -> tuple[list[Record], list[Rejected]]:
    """Keeps one of the pictures that show the same thing."""
    if not records:
        return [], []
    rows = np.array([pictures.rows[record.id] for record in records])
    found = finding.copies(pictures.looks.take(rows), _limits(parameters))
    copies: dict[int, Copy] = {
        one.copy: one for one in found if not taking.is_taken(records[one.copy], parameters.taken)
    }
    rejected = [
        reject(records[one.copy], "near copy", f"shows the same as {name_of(records[one.of])} ({one.how})")
        for one in copies.values()
    ]
    return [record for row, record in enumerate(records) if row not in copies], rejected


def _source(formed: Formed, task: Task) -> tuple[object, ...]:
    """Where a group is from: its folder, or a part of its film; parts of a film are far from one another for the most
    part, so that their shots may serve as strangers."""
    position = formed.records[0].position
    return *sequence_of(formed.records[0]), position.time // (2 * task.group.span) if position.film else 0


def _remark(records: Sequence[Record], left: Sequence[Rejected], *, only_loose: bool) -> str:
    """One sentence on pictures of folders that gave no group; of these only the ones that nothing ties together, if
    `only_loose`."""
    reasons = {row.id: row.reason for row in left}
    untied = {LOOSE} if only_loose else set(reasons.values()) - {ORDER}
    some = [one for one in records if not one.position.film and reasons.get(one.id) in untied]
    return ways_on(some) if some else ""


def _form(
    parameters: Parameters, strategy: Strategy, records: Sequence[Record], vetoes: Vetoes
) -> tuple[list[Formed], list[Rejected]]:
    """
    Raises:
        BadInput: a record was lost or used twice, a group has the wrong size, or what came is neither a group nor a
            rejection.
    """
    size = parameters.task.grid_layout.size
    results = strategy.form(records, parameters.task, vetoes)
    if not isinstance(results, Iterable):
        raise _misformed(parameters, f"returned {results!r}")
    formed, rejected = _divide(results)
    if (foreign := next((one for one in rejected if not isinstance(one, Rejected)), None)) is not None:
        raise _misformed(parameters, f"yielded a {type(foreign).__name__}")
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


def _misformed(parameters: Parameters, what: str) -> BadInput:
    return BadInput(
        f"{parameters.strategy}: form {what}; it must yield each group as Formed and each left-over record as "
        "reject(...) (docs/extending.md)."
    )


def _divide(results: Iterable[Formed | Rejected]) -> tuple[list[Formed], list[Rejected]]:
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
