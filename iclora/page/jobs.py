"""Where the page's work is done: what touches the run's state in one thread, what may take long in threads of its own.

The server's own thread only waits for them, so a slow request never holds up the others.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from pipeline.errors import ToolkitError

T = TypeVar("T")
GRACE = 0.3
"""Seconds that running jobs are given when the server stops."""


class Stopped(ToolkitError):
    """The server stopped before a job was done."""

    def __init__(self) -> None:
        super().__init__("the review was stopped before this was done.")


class Jobs:
    """The jobs of one server. Its two kinds of coroutines are for the server's thread, `work` is for the state's."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._pending: set[Future[Any]] = set()
        self._stopped = False
        self.cut_off = False
        """Whether a job was given up because it took longer than the server had when it stopped."""

    async def in_turn(self, function: Callable[..., T], *arguments: object) -> T:
        """The result of a function that touches the run's state; such functions run one after another."""
        return await self._done(self._calls.put, partial(function, *arguments))

    async def aside(self, function: Callable[..., T], *arguments: object) -> T:
        """The result of a function that touches no state, in a thread that nobody waits for once the server stops."""

        def start(settle: Callable[[], None]) -> None:
            threading.Thread(target=settle, daemon=True).start()

        return await self._done(start, partial(function, *arguments))

    async def _done(self, start: Callable[[Callable[[], None]], None], job: Callable[[], T]) -> T:
        if self._stopped:
            raise Stopped
        future: Future[T] = Future()
        self._pending.add(future)
        try:
            start(partial(_settle, future, job))
            return await asyncio.wrap_future(future)
        finally:
            self._pending.discard(future)

    def work(self, idle: Callable[[], bool] = lambda: False) -> None:
        """Runs what comes `in_turn`, in the thread that calls it, until `end`.

        Args:
            idle: called when nothing is to be done, but not before the first call, which it would slow down. Does a
                little of what can wait; gives whether more of it is left.
        """
        is_left = False
        while True:
            try:
                call = self._calls.get(block=not is_left)
            except Empty:
                is_left = idle()
                continue
            if call is None:
                return
            call()
            is_left = True

    def end(self) -> None:
        """Ends `work` after the calls that have come so far."""
        self._calls.put(None)

    async def stop(self) -> None:
        """Gives the running jobs a moment, and then up on them: whoever waits for one gets `Stopped`."""
        self._stopped = True
        end = time.monotonic() + GRACE
        while self._pending and time.monotonic() < end:
            await asyncio.sleep(GRACE / 10)
        for future in list(self._pending):
            with suppress(InvalidStateError):  # it is done after all
                future.set_exception(Stopped())
                self.cut_off = True


def _settle(future: Future[T], job: Callable[[], T]) -> None:
    """Runs a job; nobody may be waiting for its result any more."""
    try:
        result = job()
    except Exception as error:
        with suppress(InvalidStateError):
            future.set_exception(error)
    else:
        with suppress(InvalidStateError):
            future.set_result(result)
