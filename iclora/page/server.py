"""Serves a page until Ctrl-C, or beside other work: the review of a run, pairs to compare, a training."""

from __future__ import annotations

import logging
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import uvicorn
from fastapi import FastAPI

from iclora.page import app, views
from iclora.page.jobs import Jobs
from iclora.page.session import ReviewSession
from iclora.run import Run
from pipeline.progress import Progress, silent

LAST_SECONDS = 1
"""Seconds that a connection is given to receive its last answer when the server stops."""
SWITCH = 0.001
"""Seconds after which a thread lets another go on. A request needs the interpreter dozens of times and waits that long
for each while a phrase is looked for in thousands of captions; Python's own 5 ms add up to a fifth of a second."""


class Server(uvicorn.Server):
    """A server with a thread of its own, which ends the jobs' work when it stops."""

    def __init__(self, application: FastAPI, jobs: Jobs, door: socket.socket) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                log_level="warning",
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                timeout_graceful_shutdown=LAST_SECONDS,
            )
        )
        self._jobs, self._door = jobs, door
        # A request that is cut off because the reviewer has stopped the server needs no traceback.
        logging.getLogger("uvicorn.error").addFilter(lambda _: not self.should_exit)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._jobs.stop()
        await super().shutdown(sockets)

    def start(self) -> None:
        """Starts it, and waits until it answers: what it imports would make the first visitor wait."""
        self._thread = threading.Thread(target=self._serve_requests, daemon=True)
        self._thread.start()
        while not self.started and self._thread.is_alive():
            time.sleep(SWITCH)

    def stop(self) -> None:
        """Stops it, and waits for that: what it listens at must not be closed before."""
        self.should_exit = True
        self._thread.join(LAST_SECONDS + 1)

    def _serve_requests(self) -> None:
        try:
            self.run(sockets=[self._door])
        finally:
            self._jobs.end()

    @contextmanager
    def stopped_by_ctrl_c(self) -> Iterator[None]:
        """Ctrl-C stops the server and does nothing else, in the main thread; elsewhere no signal arrives."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self.handle_exit)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def serve(run: Run, opened: Callable[[str], None], progress: Progress = silent, reviewer: str = "") -> int:
    """Serves the review page until Ctrl-C; gives how many changes were made and not undone.

    Args:
        opened: called with the page's address as soon as it can be visited.
        progress: told of the rows that are read before that.
        reviewer: the name of who reviews; empty if they gave none.

    Raises:
        KeyboardInterrupt: Ctrl-C came while the captioner or the scorer was at work, and cut that off.
    """
    session = ReviewSession(run, reviewer)
    session.read(progress)
    views.state(session)  # made before anybody waits for it in a browser
    if serve_page(partial(app.make, session), opened, session.check_some).cut_off:
        raise KeyboardInterrupt
    return sum(len(step.parts) for step in session.steps)


def serve_page(
    make: Callable[[Jobs, str, str], FastAPI], opened: Callable[[str], None], idle: Callable[[], bool] = lambda: False
) -> Jobs:
    """Serves a page until Ctrl-C; gives the jobs that were done.

    Args:
        make: gives the application for its jobs, host and port, and token.
        opened: called with the page's address as soon as it can be visited.
        idle: as for `Jobs.work`.
    """
    with page_served(make) as page, page.server.stopped_by_ctrl_c(), _switching_often():
        opened(page.url)
        page.jobs.work(idle)
    return page.jobs


@contextmanager
def _switching_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@dataclass(frozen=True)
class Page:
    """A page that is being served."""

    server: Server
    jobs: Jobs
    url: str
    """With its token."""


@contextmanager
def page_served(make: Callable[[Jobs, str, str], FastAPI]) -> Iterator[Page]:
    """Serves a page in a thread of its own, at a port that is free.

    Args:
        make: as for `serve_page`.

    Raises:
        OSError: this machine gives no port.
    """
    jobs, token = Jobs(), secrets.token_urlsafe(24)
    with socket.socket(
        socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP
    ) as door:  # asyncio: no delay if it says TCP
        door.bind(("127.0.0.1", 0))
        door.listen()
        address = f"127.0.0.1:{door.getsockname()[1]}"
        server = Server(make(jobs, address, token), jobs, door)
        server.start()
        try:
            yield Page(server, jobs, f"http://{address}/#{token}")  # a fragment is sent to no server
        finally:
            server.stop()
