"""Runs one stage over its inputs on this machine: in batches, resumable, with every input accounted for."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import multiprocessing
import os
import pickle
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from pipeline.engines.base import Facts, In, Stage
from pipeline.errors import Stopped, ToolkitError
from pipeline.progress import LOG, Progress
from pipeline.records import Rejected
from pipeline.store import TABLES, Item, Mark, Store

Results = tuple[list[Item | Rejected | Facts], BaseException | None]
"""What a batch came to, and why the stage ended early, if it did."""


def run(
    stage: Stage[In],
    inputs: Sequence[In],
    store: Store,
    *,
    upstream: str,
    progress: Progress,
    processes: bool = False,
) -> Mark:
    """Brings one stage to its end and returns its mark.

    Nothing is done if the mark says so. A stage that was cut off resumes with the inputs that have no result yet; one
    whose config or input changed, or that sees everything at once, starts anew. The results are the same however many
    workers there are, and come in the order of the inputs.

    Args:
        upstream: hash of the inputs' content.
        processes: whether the stage's workers are processes, started anew and without this one's memory; else they are
            threads.

    Raises:
        BadInput: another process is at work in this run.
        ToolkitError: a worker process was killed, or the stage ended early.
        RuntimeError: the stage lost an input (a bug of the stage, never the fault of the user's data).
    """
    wanted = fingerprint(stage, upstream)
    mark = store.mark(stage.name)
    done_before = mark is not None and mark.done and mark.fingerprint == wanted
    if mark and done_before and stage.intact():
        return mark
    with store.working():
        store.begin(stage.name, stage.table, wanted, anew=done_before or stage.batch is None)
        found = _work(stage, inputs, store, progress, processes)
        rejections = sum(store.rejections(stage.name).values())
        kept = store.count(stage.table) if stage.expands else len(inputs) - rejections
        facts = stage.facts(_outputs(stage, store)) | found
        store.finish(stage.name, entered=kept + rejections, kept=kept, facts=facts)
    finished = store.mark(stage.name)
    assert finished is not None
    return finished


def _work(stage: Stage[In], inputs: Sequence[In], store: Store, progress: Progress, processes: bool) -> dict[str, Any]:
    """Takes the inputs that have no result yet through the stage, one transaction per batch; the facts they gave."""
    done = _settled(stage, store)
    left = [item for item in inputs if item.id not in done]
    finished = len(inputs) - len(left)
    earlier = {item.id: item for item in _outputs(stage, store)} if stage.repeated else {}
    failures = len(store.rejected(stage.name))
    progress(stage.name, finished, len(inputs))
    stage.prepare(left, progress)
    clock = time.perf_counter()
    found: dict[str, Any] = {}
    for batch, (made, stopped) in _results(stage, left, processes):
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
        store.add(stage.name, stage.table, outputs, rejected, now - clock)
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


def _added(before: Any, value: Any) -> Any:
    """Two batches' values of one fact."""
    counts = type(before) is int and type(value) is int  # a bool is no count
    return before + value if counts else value


def fingerprint(stage: Stage[In], upstream: str) -> str:
    """Equal for equal inputs and config of a stage.

    Args:
        upstream: hash of the inputs' content.
    """
    # No default=str: an object would be written by its address, and no run would ever resume.
    config = json.dumps(stage.config, sort_keys=True, default=asdict)
    return hashlib.sha256(f"{stage.name}\n{config}\n{upstream}".encode()).hexdigest()


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


# ---- running the batches


def _results(stage: Stage[In], inputs: Sequence[In], processes: bool) -> Iterator[tuple[Sequence[In], Results]]:
    """Batches with their results, in order; at most twice as many batches as workers are under way."""
    size = stage.batch or max(len(inputs), 1)
    batches = [inputs[start : start + size] for start in range(0, len(inputs), size)]
    if stage.streams:
        yield from _streamed(stage, inputs, size)
        return
    if stage.workers == 1:
        for batch in batches:
            yield batch, _whole(stage.run, batch)
        return
    with _workers(stage, processes) as submit:
        waiting = iter(batches)
        running: deque[tuple[Sequence[In], Future[Results]]] = deque()

        def feed(count: int) -> None:
            running.extend((batch, submit(batch)) for batch in itertools.islice(waiting, count))

        feed(2 * stage.workers)
        while running:
            batch, future = running.popleft()
            yield batch, future.result()
            feed(1)


def _streamed(stage: Stage[In], inputs: Sequence[In], size: int) -> Iterator[tuple[Sequence[In], Results]]:
    """Inputs with their results as these come. What the stage gave before it ended early is kept, whatever ended it."""
    left = {item.id: item for item in inputs}
    results = iter(stage.run(inputs))
    while left:
        made: list[Item | Rejected | Facts] = []
        settled: set[str] = set()
        ended: BaseException | None = None
        try:
            while len(settled) < size or len(settled) == len(left):  # facts may follow the last result
                made.append(result := next(results))
                if not isinstance(result, Facts):
                    settled |= {result.origin} if isinstance(result, Rejected) else set(stage.origin(result))
        except BaseException as error:  # raised again once the results are stored
            ended = error
        batch = list(left.values()) if ended else [left[one] for one in settled if one in left]
        for item in batch:
            del left[item.id]
        yield batch, (made, None if isinstance(ended, StopIteration) else ended)


@contextmanager
def _workers(stage: Stage[In], processes: bool) -> Iterator[Callable[[Sequence[In]], Future[Results]]]:
    """Hands batches to workers. After an error or Ctrl-C those under way are waited for, and no other begins."""
    pool, work = _processes(stage) if processes else _threads(stage)

    def submit(batch: Sequence[In]) -> Future[Results]:
        with _interrupts_held():  # this may start a process
            return pool.submit(work, batch)

    try:
        yield submit
    except BrokenProcessPool as error:
        raise ToolkitError(
            f"a worker process of the stage {stage.name} was killed, perhaps because memory ran out; close other "
            "programs and type the same again, the stage resumes."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


Pool = tuple[Executor, Callable[[Sequence[Any]], Results]]


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits, and never reaches a process started meanwhile: the engine alone decides what follows from it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _threads(stage: Stage[In]) -> Pool:
    return ThreadPoolExecutor(stage.workers), functools.partial(_whole, stage.run)


def _processes(stage: Stage[In]) -> Pool:
    """Processes that are spawned, not forked: a fork of a process with threads may hang."""
    spawned = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(stage.workers, spawned, _set_up, (pickle.dumps(stage.run),)), _in_worker


def _whole(function: Callable[[Sequence[In]], Any], batch: Sequence[In]) -> Results:
    made: list[Item | Rejected | Facts] = []
    try:
        for result in function(batch):
            made.append(result)
    except Stopped as stopped:
        return made, stopped
    return made, None


_worker: list[Callable[[Sequence[Any]], Any]] = []
"""In a worker process, its stage's function: unpickled once, so that a model is loaded once."""


def _set_up(function: bytes) -> None:
    """Makes a process ready to work on a stage."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as `_interrupts_held`, on systems without signal masks
    # Waiting threads of PyTorch's kind burn cores that the other workers need; read when such a package is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _worker.append(pickle.loads(function))


def _in_worker(batch: Sequence[Any]) -> Results:
    return _whole(_worker[0], batch)
