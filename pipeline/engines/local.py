"""Runs the batches of stages on this machine, in threads or in processes."""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import os
import pickle
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import Field

from pipeline import plugins
from pipeline.engines import base
from pipeline.engines._capacity import capacity
from pipeline.engines.base import Facts, In, Results, Stage, batches, whole
from pipeline.errors import ToolkitError
from pipeline.progress import Progress
from pipeline.records import Rejected
from pipeline.store import Item, Mark, Store

TOGETHER = 16
"""Most results of a stage that streams which are stored in one transaction."""


class Options(plugins.Options):
    workers: int | None = Field(None, ge=1, le=4096)
    """Batches of pictures that are worked on at once. If not set, one per core, as long as half a gigabyte of memory is
    free for each."""


class Local:
    """The engine of this machine."""

    def __init__(self, options: Options, *, processes: bool = False) -> None:
        """
        Args:
            processes: whether a stage's workers are processes, started anew and without this one's memory; else they
                are threads.
        """
        self.options, self.processes = options, processes

    @cached_property
    def workers(self) -> int:
        return self.options.workers or capacity()

    @property
    def least(self) -> int:
        return 0

    def check(self, records: int) -> None:
        """Any number will do."""

    @contextmanager
    def working(self, folder: Path, sources: Sequence[Path]) -> Iterator[None]:
        """Nothing is kept."""
        yield

    def results(self, stage: Stage[In], inputs: Sequence[In]) -> Iterator[tuple[Sequence[In], Results]]:
        """Batches with their results, in order; at most twice as many batches as workers are under way."""
        if stage.streams and stage.batch:
            yield from _streamed(stage, inputs, min(stage.batch, TOGETHER))
            return
        if stage.workers == 1:
            for batch in batches(inputs, stage.batch):
                yield batch, whole(stage.run, batch)
            return
        with _workers(stage, self.processes or stage.processes) as submit:
            waiting = iter(batches(inputs, stage.batch))
            running: deque[tuple[Sequence[In], Future[Results]]] = deque()

            def feed(count: int) -> None:
                running.extend((batch, submit(batch)) for batch in itertools.islice(waiting, count))

            feed(2 * stage.workers)
            while running:
                batch, future = running.popleft()
                yield batch, future.result()
                feed(1)


def make(options: dict[str, Any]) -> Local:
    return Local(plugins.parse_options(Options, "the engine local", options, "engine."))


def run(
    stage: Stage[In],
    inputs: Sequence[In],
    store: Store,
    *,
    upstream: str,
    progress: Progress,
    processes: bool = False,
) -> Mark:
    """Brings one stage to its end on this machine, as `base.run` does."""
    engine = Local(Options(), processes=processes)
    return base.run(stage, inputs, store, upstream=upstream, progress=progress, engine=engine)


# ---- running the batches


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
        with _interrupts_held(), _program_hidden():  # this may start a process
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


@contextmanager
def _program_hidden() -> Iterator[None]:
    """A process started meanwhile does not import the program that is running: a script that doesn't ask whether its
    name is `__main__` would do all that it does once more in each of them."""
    program = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = program


def _threads(stage: Stage[In]) -> Pool:
    return ThreadPoolExecutor(stage.workers), functools.partial(whole, stage.run)


def _processes(stage: Stage[In]) -> Pool:
    """Processes that are spawned, not forked: a fork of a process with threads may hang."""
    spawned = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(stage.workers, spawned, _set_up, (pickle.dumps(stage.run),)), _in_worker


_worker: list[Callable[[Sequence[Any]], Any]] = []
"""In a worker process, its stage's function: unpickled once, so that a model is loaded once."""


def _set_up(function: bytes) -> None:
    """Makes a process ready to work on a stage."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as `_interrupts_held`, on systems without signal masks
    # Waiting threads of PyTorch's kind burn cores that the other workers need; read when such a package is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _worker.append(pickle.loads(function))


def _in_worker(batch: Sequence[Any]) -> Results:
    return whole(_worker[0], batch)
