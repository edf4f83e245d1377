"""Pictures are opened while answers to earlier questions are awaited."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")

MOST = 8
"""Threads at most; each has two pictures at hand, opened or being opened."""


def ahead(function: Callable[[In], Out], inputs: Iterable[In]) -> Generator[Out]:
    """Results of a function in the order of its inputs; the next ones are made in threads meanwhile.

    Close it if it is left before its end, so that no further one begins.
    """
    threads, waiting = min(MOST, os.cpu_count() or 1), iter(inputs)
    running: deque[Future[Out]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        running.extend(pool.submit(function, each) for each in itertools.islice(waiting, 2 * threads))
        while running:
            result = running.popleft().result()
            running.extend(pool.submit(function, each) for each in itertools.islice(waiting, 1))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)
