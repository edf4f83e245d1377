"""A site for tests: each path answers as a test has chosen, and requests are noted."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from running import LocalServer, SilentHandler, running

Answer = Callable[["Handler"], None]


class Site(LocalServer):
    block_on_close = False
    request_queue_size = 128

    def __init__(self, pages: Mapping[str, bytes | Answer | Sequence[Answer | bytes]]) -> None:
        super().__init__(Handler)
        self.pages = {path: deque(page) if isinstance(page, list | tuple) else page for path, page in pages.items()}
        self.over, self.lock = threading.Event(), threading.Lock()
        self.asked = Counter[str]()
        self.agents: set[str] = set()
        self.busy = self.busiest = 0

    def handle_error(self, *_: object) -> None:
        """A client that has hung up is no error here."""


class Handler(SilentHandler):
    server: Site

    def do_GET(self) -> None:
        site = self.server
        with site.lock:
            site.asked[self.path] += 1
            site.agents.add(self.headers.get("User-Agent", ""))
            page = site.pages.get(self.path)
            if isinstance(page, deque):
                page = page.popleft() if len(page) > 1 else page[0]
            site.busy += 1
            site.busiest = max(site.busiest, site.busy)
        try:
            if page is None:
                self.reply(b"<html>not here</html>", 404)
            elif isinstance(page, bytes):
                self.reply(page)
            else:
                page(self)
        finally:
            with site.lock:
                site.busy -= 1

    def reply(self, content: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in ({"Content-Length": str(len(content))} | given).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def serving(pages: Mapping[str, bytes | Answer | Sequence[Answer | bytes]]) -> Iterator[Site]:
    """
    Args:
        pages: by path, the content, what answers, or several of these in turn, of which the last stays.
    """
    with running(Site(pages)) as site:
        try:
            yield site
        finally:
            site.over.set()


def sends(content: bytes, status: int = 200, **headers: str) -> Answer:
    return lambda handler: handler.reply(content, status, **headers)


def leads_to(address: str, status: int = 302) -> Answer:
    return sends(b"", status, Location=address)


def endless(handler: Handler) -> None:
    """Begins like a picture, and sends as much as anybody takes."""
    handler.send_response(200)
    handler.end_headers()
    handler.close_connection = True
    handler.wfile.write(b"\x89PNG\r\n\x1a\n")
    while not handler.server.over.is_set():
        handler.wfile.write(bytes(1 << 16))


def hangs(handler: Handler) -> None:
    handler.server.over.wait(60)


def trickles(handler: Handler) -> None:
    """Sends a header now and then, and never the last."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while not handler.server.over.wait(0.02):
        handler.wfile.write(b"X-More: yes\r\n")


def cuts(handler: Handler) -> None:
    """Hangs up in the middle of a picture."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"\x89PNG\r\n\x1a\n")
    handler.close_connection = True
