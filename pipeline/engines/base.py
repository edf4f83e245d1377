"""What a stage is to the engine that runs its batches, and how its books are kept, whichever engine that is."""

from __future__ import annotations

import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

from pipeline.errors import Stopped
from pipeline.progress import LOG, Progress
from pipeline.records import Rejected
from pipeline.store import TABLES, Item, Keyed, Mark, Store

In = TypeVar("In", bound=Keyed)


@dataclass(frozen=True)
class Facts:
    """What a stage says about a batch beyond its outputs, for the report.

    Over the batches of a run whole numbers add up; of anything else, the last batch's value counts.
    """

    found: Mapping[str, Any]


@dataclass(frozen=True)
class Ahead:
    """What can be computed in parts before a stage that must see everything at once, and is kept in a cache."""

    run: Callable[[Any], object]
    """Computes a part; can be pickled."""
    parts: Sequence[Any]


@dataclass(frozen=True)
class Alone(Generic[In]):
    """For a stage whose inputs are worked on each by itself: which results of an earlier run are still good.

    They are taken over when other inputs have changed, or what people say of these.
    """

    seen: Callable[[In], str]
    """What of an input its results depend on, besides the stage's config."""
    holds: Callable[[In, Sequence[Any]], bool]
    """Whether the results that an input had, with the same config, would come out again: their files are there, and
    people say of it what they said."""


@dataclass(frozen=True)
class Stage(Generic[In]):
    """One stretch of the line, as data.

    `run` takes a batch of inputs and gives outputs and rejections, and facts if it likes; every input must end as the
    origin of an output or as a rejection. It is a module-level function bound to frozen parameters with
    `functools.partial`, so that it can be pickled and run in another process: it keeps no state between batches, and
    what it depends on besides its inputs and parameters is nothing. Everything else here stays with the engine.
    """

    name: str
    table: str
    run: Callable[[Sequence[In]], Iterable[Item | Rejected | Facts]]
    config: Mapping[str, Any]
    """What the results depend on besides the inputs; part of the stage's fingerprint."""
    batch: int | None = None
    """Inputs per call and per transaction; None gives all at once, for stages that must see everything."""
    streams: bool = False
    """Whether `run` may be given all inputs at once, since it takes one after the other and gives one result per input,
    in their order, as soon as it has it; then no input waits for the slowest of a batch."""
    workers: int = 1
    """Batches that may be under way at once on this machine, in threads or processes as the engine is told."""
    processes: bool = False
    """Whether its workers on this machine are processes in any case: much of its work holds the interpreter's lock."""
    needs: Literal["core", "gpu", "part of a gpu", "server"] = "core"
    """What a worker on a cluster needs: a core; a GPU, if there are any; a core, and a part of a GPU if there are any,
    for a small model whose pictures have to be decoded; or a server of somebody's for which it waits, so that one
    worker per machine is enough."""
    ahead: Callable[[Sequence[In]], Ahead] | None = None
    """What workers on a cluster can do before this stage, given all its inputs. Results don't depend on whether it was
    done."""
    origin: Callable[[Any], tuple[str, ...]] = attrgetter("origin")
    """Ids of the inputs that an output comes from."""
    expands: bool = False
    """One input may become many (a film its shots); then outputs are counted as kept, not inputs."""
    repeated: Callable[[Sequence[Any], Mapping[str, Any]], Iterable[Item | Rejected]] | None = None
    """Given a batch's outputs and rejections, and all earlier outputs by id, replaces the outputs whose ids are among
    the earlier ones. Called in the order of the inputs, wherever they are worked on. None if ids can't repeat."""
    prepare: Callable[[Sequence[In], Progress], None] = lambda inputs, progress: None
    """Called before the first batch with all inputs that have no result yet, for what is slow one by one. Results don't
    depend on whether it was."""
    intact: Callable[[], bool] = lambda: True
    """Whether the files that it wrote are still there, and no failure is to be tried again; if not, it is not done."""
    facts: Callable[[Sequence[Any]], dict[str, Any]] = lambda _: {}
    """What the report says about all outputs, those of an earlier, cut-off run included; `Facts` override it."""
    also: Mapping[str, Any] = field(default_factory=dict)
    """What else is part of the fingerprint, since the results of a few inputs depend on it, as `alone.holds` knows."""
    alone: Alone[In] | None = None
    """None if the results of an input depend on other inputs, or are not worth keeping."""


# ---- what an engine is

Results = tuple[list[Item | Rejected | Facts], BaseException | None]
"""What a batch came to, and why the stage ended early, if it did."""


class Engine(Protocol):
    """Runs the batches of stages. Its module has `Options` and `make(options) -> Engine`."""

    @property
    def workers(self) -> int:
        """Batches that this machine should work on at once."""

    @property
    def least(self) -> int:
        """The fewest records that it is meant for; 0 if any number will do."""

    def check(self, records: int) -> None:
        """
        Raises:
            BadInput: the engine is not meant for so few records.
        """

    def working(self, folder: Path, sources: Sequence[Path]) -> AbstractContextManager[None]:
        """For the stages of one run, during which the engine may keep what it needs.

        Args:
            folder: the run's folder.
            sources: files and folders that the run's pictures are read from.
        """

    def results(self, stage: Stage[In], inputs: Sequence[In]) -> Iterator[tuple[Sequence[In], Results]]:
        """Batches with their results, in the order of the inputs. What a batch raises is raised when it is due.

        Raises:
            ToolkitError: a worker was killed, or can't be had.
        """


def batches(inputs: Sequence[In], size: int | None) -> list[Sequence[In]]:
    """The inputs in batches; in one, if there is no size."""
    size = size or max(len(inputs), 1)
    return [inputs[start : start + size] for start in range(0, len(inputs), size)]


def whole(function: Callable[[Sequence[In]], Any], batch: Sequence[In]) -> Results:
    """Everything that a stage's function gives for a batch."""
    made: list[Item | Rejected | Facts] = []
    try:
        for result in function(batch):
            made.append(result)
    except Stopped as stopped:
        return made, stopped
    return made, None


# ---- the books


def run(
    stage: Stage[In], inputs: Sequence[In], store: Store, *, upstream: str, progress: Progress, engine: Engine
) -> Mark:
    """Brings one stage to its end and returns its mark.

    Nothing is done if the mark says so. A stage that was cut off resumes with the inputs that have no result yet; one
    whose config or input changed, or that sees everything at once, starts anew, except for inputs that `alone` says
    would come to the same. The results are the same whichever engine runs the batches, and come in the order of the
    inputs.

    Args:
        upstream: hash of the inputs' content.

    Raises:
        BadInput: another process is at work in this run.
        ToolkitError: a worker was killed, or the stage ended early.
        RuntimeError: the stage lost an input (a bug of the stage, never the fault of the user's data).
    """
    wanted = fingerprint(stage, upstream)
    mark = store.mark(stage.name)
    done_before = mark is not None and mark.done and mark.fingerprint == wanted
    if mark and done_before and stage.intact():
        return mark
    with store.working():
        anew = done_before or stage.batch is None
        resumes = mark is not None and mark.fingerprint == wanted and not anew
        known = {} if resumes else _still_good(stage, inputs, store)
        store.begin(stage.name, stage.table, wanted, anew=anew)
        found = _work(stage, inputs, store, progress, engine, known)
        rejections = sum(store.rejections(stage.name).values())
        kept = store.count(stage.table) if stage.expands else len(inputs) - rejections
        facts = stage.facts(_outputs(stage, store)) | found
        store.finish(stage.name, entered=kept + rejections, kept=kept, facts=facts)
    finished = store.mark(stage.name)
    assert finished is not None
    return finished


def _work(
    stage: Stage[In],
    inputs: Sequence[In],
    store: Store,
    progress: Progress,
    engine: Engine,
    known: Mapping[str, Sequence[Item | Rejected]],
) -> dict[str, Any]:
    """Takes the inputs that have no result yet through the stage, one transaction per batch; the facts they gave.

    Args:
        known: by input, results that are only written down.
    """
    done = _settled(stage, store)
    waiting = [item for item in inputs if item.id not in done]
    left = [item for item in waiting if item.id not in known]
    finished = len(inputs) - len(waiting)
    earlier = {item.id: item for item in _outputs(stage, store)} if stage.repeated else {}
    failures = sum(store.rejections(stage.name).values())
    progress(stage.name, finished, len(inputs))
    stage.prepare(left, progress)
    clock = time.perf_counter()
    found: dict[str, Any] = {}
    for batch, (made, stopped) in _with_known(stage, waiting, known, engine.results(stage, left)):
        given = [result for result in made if isinstance(result, Facts)]
        results = [result for result in made if not isinstance(result, Facts)]
        if stage.repeated:
            results = list(stage.repeated(results, earlier))
        outputs = [result for result in results if not isinstance(result, Rejected)]
        rejected = [result for result in results if isinstance(result, Rejected)]
        if stopped:
            settled = _origins(stage, outputs, rejected)
            batch = [item for item in batch if item.id in settled]  # noqa: PLW2901
        _account(stage, batch, outputs, rejected)
        if stage.repeated:
            earlier.update((item.id, item) for item in outputs)
        now = time.perf_counter()
        store.add(stage.name, stage.table, outputs, rejected, now - clock, _keys(stage, batch))
        clock = now
        for facts in given:
            found |= {name: _added(found.get(name), value) for name, value in facts.found.items()}
        finished += len(batch)
        failures += len(rejected)
        if failures:
            LOG.debug("%d rejected", failures, extra={"failures": failures})
        progress(stage.name, finished, len(inputs))
        if stopped:
            raise stopped
    return found


def _with_known(
    stage: Stage[In],
    waiting: Sequence[In],
    known: Mapping[str, Sequence[Item | Rejected]],
    results: Iterator[tuple[Sequence[In], Results]],
) -> Iterator[tuple[Sequence[In], Results]]:
    """The engine's batches, each together with the inputs before its last whose results are known; all in order."""
    if not known:
        yield from results
        return
    rest = iter(waiting)
    for batch, (made, stopped) in results:
        own, missing = _by_input(stage, made), len(batch)
        together: list[In] = []
        while missing:
            together.append(item := next(rest))
            missing -= item.id not in known
        found = [one for item in together for one in known.get(item.id, own.pop(item.id, ()))]
        yield together, ([*found, *(one for one in made if isinstance(one, Facts))], stopped)
    if last := list(rest):
        yield last, ([one for item in last for one in known[item.id]], None)


def _still_good(stage: Stage[In], inputs: Sequence[In], store: Store) -> dict[str, Sequence[Item | Rejected]]:
    """By input, results of an earlier run that would come out again, whatever else has changed."""
    if stage.alone is None or not (seen := store.seen(stage.name)):
        return {}
    there = [item for item in inputs if item.id in seen]
    made, keys = results_of(stage, store), _keys(stage, there)
    same = [item for item in there if seen[item.id] == keys[item.id] and made[item.id]]
    return {item.id: made[item.id] for item in same if stage.alone.holds(item, made[item.id])}


def results_of(stage: Stage[In], store: Store) -> dict[str, list[Item | Rejected]]:
    """By input, everything that a stage has made of it, in the order in which it came."""
    found = _by_input(stage, _outputs(stage, store))
    for row in sorted(store.rejected(stage.name), key=_place):
        found[row.origin].insert(_place(row), row)
    return found


def _by_input(stage: Stage[In], results: Iterable[Item | Rejected | Facts]) -> dict[str, list[Item | Rejected]]:
    found: dict[str, list[Item | Rejected]] = defaultdict(list)
    for one in results:
        if not isinstance(one, Facts):
            for origin in [one.origin] if isinstance(one, Rejected) else stage.origin(one):
                found[origin].append(one)
    return found


def _place(row: Rejected) -> int:
    """Which of the results of its input a rejection is, from 0."""
    return int(row.id.partition("#")[2] or 0)


def _keys(stage: Stage[In], items: Iterable[In]) -> dict[str, str]:
    """By input, a hash of what its results depend on; none where they depend on other inputs too."""
    if stage.alone is None:
        return {}
    config = hashlib.sha256(_plain(stage.config).encode())
    keys = {}
    for item in items:
        state = config.copy()
        state.update(stage.alone.seen(item).encode("utf-8", "surrogatepass"))
        keys[item.id] = state.hexdigest()[:32]
    return keys


def _added(before: Any, value: Any) -> Any:
    """Two batches' values of one fact."""
    counts = type(before) is int and type(value) is int  # a bool is no count
    return before + value if counts else value


def fingerprint(stage: Stage[In], upstream: str) -> str:
    """Equal for equal inputs and config of a stage.

    Args:
        upstream: hash of the inputs' content.
    """
    config = _plain({**stage.config, **stage.also})
    return hashlib.sha256(f"{stage.name}\n{config}\n{upstream}".encode()).hexdigest()


def _plain(config: Mapping[str, Any]) -> str:
    # No default=str: an object would be written by its address, and no run would ever resume.
    return json.dumps(config, sort_keys=True, default=asdict)


def _settled(stage: Stage[In], store: Store) -> set[str]:
    """Ids of inputs that an earlier, cut-off run has dealt with. A stage that sees everything at once has none."""
    if stage.batch is None:
        return set()
    return _origins(stage, _outputs(stage, store), store.rejected(stage.name))


def _outputs(stage: Stage[In], store: Store) -> list[Item]:
    return store.items(TABLES[stage.table], stage.table)


def _account(stage: Stage[In], batch: Sequence[In], outputs: Sequence[Item], rejected: Sequence[Rejected]) -> None:
    ids, settled = {item.id for item in batch}, _origins(stage, outputs, rejected)
    if settled != ids:
        lost, foreign = sorted(ids - settled)[:3], sorted(settled - ids)[:3]
        raise RuntimeError(f"stage {stage.name} lost {lost} and invented {foreign}")


def _origins(stage: Stage[In], outputs: Iterable[Item], rejected: Iterable[Rejected]) -> set[str]:
    """Ids of the inputs that these results come from."""
    return {origin for output in outputs for origin in stage.origin(output)} | {row.origin for row in rejected}
