"""Runs one stage over its inputs: in batches, resumable, with every input accounted for."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from operator import attrgetter
from typing import Any, Generic, TypeVar

from pipeline.progress import Progress
from pipeline.records import Rejected
from pipeline.store import TABLES, Item, Keyed, Mark, Store

In = TypeVar("In", bound=Keyed)


@dataclass(frozen=True)
class Stage(Generic[In]):
    """One stretch of the line.

    `run` takes a batch of inputs and gives outputs and rejections; every input must end as the origin of an output or
    as a rejection. What it depends on besides its inputs stands in `config`.
    """

    name: str
    table: str
    run: Callable[[Sequence[In]], Iterable[Item | Rejected]]
    config: Mapping[str, Any]
    batch: int | None = None
    """Inputs per call and per transaction; None gives all at once, for stages that must see everything."""
    threads: int = 1
    origin: Callable[[Any], tuple[str, ...]] = attrgetter("origin")
    """Ids of the inputs that an output comes from."""
    expands: bool = False
    """One input may become many (a film its shots); then outputs are counted as kept, not inputs."""
    repeated: Callable[[Sequence[Any], Mapping[str, Any]], Iterable[Item | Rejected]] | None = None
    """Takes the results of one batch and all earlier outputs by id, and replaces the outputs whose id one of them has.
    Called in the order of the inputs, wherever they are worked on. None where ids can't repeat."""
    intact: Callable[[], bool] = lambda: True
    """Whether the files that it wrote are still there; where they are not it is not done."""
    facts: Callable[[Sequence[Any]], dict[str, Any]] = lambda _: {}
    """What the report tells of this stage beyond counts: from all its outputs, those of a run that was cut off too."""


def run(stage: Stage[In], inputs: Sequence[In], store: Store, *, upstream: str, progress: Progress) -> Mark:
    """Brings one stage to its end and returns its mark.

    Nothing is done where the mark says so; a stage that was cut off goes on with the inputs that have no result yet; a
    stage whose config or input changed, or that sees everything at once, starts anew.

    Args:
        upstream: hash of the inputs' content.

    Raises:
        BadInput: another process is at work in this run.
        RuntimeError: the stage lost an input (a bug of the stage, never of the user's data).
    """
    fingerprint = _fingerprint(stage, upstream)
    mark = store.mark(stage.name)
    done_before = mark is not None and mark.done and mark.fingerprint == fingerprint
    if mark and done_before and stage.intact():
        return mark
    with store.working():
        store.begin(stage.name, stage.table, fingerprint, anew=done_before or stage.batch is None)
        _work(stage, inputs, store, progress)
        rejections = len(store.rejected(stage.name))
        kept = store.count(stage.table) if stage.expands else len(inputs) - rejections
        store.finish(stage.name, entered=kept + rejections, kept=kept, facts=stage.facts(_outputs(stage, store)))
    finished = store.mark(stage.name)
    assert finished is not None
    return finished


def _work(stage: Stage[In], inputs: Sequence[In], store: Store, progress: Progress) -> None:
    """Takes the inputs that have no result yet through the stage, a transaction a batch."""
    done = _settled(stage, store)
    left = [item for item in inputs if item.id not in done]
    finished = len(inputs) - len(left)
    earlier = {item.id: item for item in _outputs(stage, store)} if stage.repeated else {}
    progress(stage.name, finished, len(inputs))
    clock = time.perf_counter()
    for batch, made in _results(stage, left):
        results = list(stage.repeated(made, earlier)) if stage.repeated else made
        outputs = [result for result in results if not isinstance(result, Rejected)]
        rejected = [result for result in results if isinstance(result, Rejected)]
        _account(stage, batch, outputs, rejected)
        if stage.repeated:
            earlier.update((item.id, item) for item in outputs)
        now = time.perf_counter()
        store.add(stage.name, stage.table, outputs, rejected, now - clock)
        clock = now
        finished += len(batch)
        progress(stage.name, finished, len(inputs))


def _fingerprint(stage: Stage[In], upstream: str) -> str:
    # No default=str: an object would stand there by its address and no run would ever go on.
    config = json.dumps(stage.config, sort_keys=True, default=asdict)
    return hashlib.sha256(f"{stage.name}\n{config}\n{upstream}".encode()).hexdigest()


def _settled(stage: Stage[In], store: Store) -> set[str]:
    """Ids of inputs that an earlier, cut-off run has dealt with. A stage that sees everything at once has none."""
    if stage.batch is None:
        return set()
    made = {origin for item in _outputs(stage, store) for origin in stage.origin(item)}
    return made | {row.origin for row in store.rejected(stage.name)}


def _outputs(stage: Stage[In], store: Store) -> list[Item]:
    return store.items(TABLES[stage.table], stage.table)


def _results(stage: Stage[In], inputs: Sequence[In]) -> Iterator[tuple[Sequence[In], list[Item | Rejected]]]:
    """Batches with their results, in order; with threads at most twice as many batches are under way."""
    size = stage.batch or max(len(inputs), 1)
    batches = [inputs[start : start + size] for start in range(0, len(inputs), size)]
    if stage.threads == 1:
        for batch in batches:
            yield batch, list(stage.run(batch))
        return
    with ThreadPoolExecutor(stage.threads) as pool:
        waiting = iter(batches)
        running: deque[tuple[Sequence[In], Future[list[Item | Rejected]]]] = deque()

        def feed(count: int) -> None:
            for batch in itertools.islice(waiting, count):
                running.append((batch, pool.submit(_whole, stage, batch)))

        feed(2 * stage.threads)
        try:
            while running:
                batch, future = running.popleft()
                yield batch, future.result()
                feed(1)
        finally:
            pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C what has not begun need not begin


def _whole(stage: Stage[In], batch: Sequence[In]) -> list[Item | Rejected]:
    return list(stage.run(batch))


def _account(stage: Stage[In], batch: Sequence[In], outputs: Sequence[Item], rejected: Sequence[Rejected]) -> None:
    ids = {item.id for item in batch}
    settled = {origin for output in outputs for origin in stage.origin(output)} | {row.origin for row in rejected}
    if settled != ids:
        lost, foreign = sorted(ids - settled)[:3], sorted(settled - ids)[:3]
        raise RuntimeError(f"stage {stage.name} lost {lost} and invented {foreign}")
