"""An OpenAI-compatible endpoint for tests: answers, or fails in a way that a test has chosen, and counts."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from running import LocalServer, SilentHandler, running

MODEL = "small-vlm"
GOOD = json.dumps(
    {
        "panels": [{"text": text} for text in ("<P1> rows a red boat", "gulls fly over roofs", "<P1> mends a net")],
        "people": [{"name": "P1", "looks": "a man in a blue cap"}],
        "summary": "a day by the sea",
    }
)

Reaction = Callable[["Handler"], None]


def closed() -> str:
    """An address that nothing listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


class Endpoint(LocalServer):
    """Reacts to the questions about an image (recognised by its data URL) as its script says, then answers well."""

    block_on_close = False
    request_queue_size = 128

    def __init__(
        self,
        scripts: Mapping[str, Sequence[Reaction]],
        default: Reaction,
        models: Sequence[str],
        listing: Reaction | None,
    ) -> None:
        super().__init__(Handler)
        self.scripts = defaultdict(deque, {picture: deque(script) for picture, script in scripts.items()})
        self.default, self.models, self.listing = default, models, listing
        self.url += "/v1"
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.at: dict[str, list[float]] = defaultdict(list)
        """When each picture's questions came."""
        self.bodies: list[dict[str, Any]] = []
        self.listings = 0
        self.busy = self.busiest = 0

    @property
    def asked(self) -> Counter[str]:
        with self.lock:
            return Counter({picture: len(times) for picture, times in self.at.items()})

    def handle_error(self, *_: object) -> None:
        """A client that has disconnected is no error here."""


class Handler(SilentHandler):
    server: Endpoint
    body: dict[str, Any]

    def do_GET(self) -> None:
        self.server.listings += 1
        if self.server.listing:
            return self.server.listing(self)
        self.reply({"object": "list", "data": [{"id": name, "object": "model"} for name in self.server.models]})

    def do_POST(self) -> None:
        server = self.server
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        picture = pictures(self.body)[0]
        with server.lock:
            server.at[picture].append(time.monotonic())
            server.bodies.append(self.body)
            script = server.scripts[picture]
            react = script.popleft() if script else server.default
            server.busy += 1
            server.busiest = max(server.busiest, server.busy)
        try:
            react(self)
        finally:
            with server.lock:
                server.busy -= 1

    def reply(self, content: object, status: int = 200, headers: Mapping[str, str] = {}) -> None:
        """Sends JSON, or bytes as they are."""
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def pictures(body: Mapping[str, Any]) -> list[str]:
    parts = body["messages"][0]["content"]
    return [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]


@contextmanager
def serving(
    scripts: Mapping[str, Sequence[Reaction]] | None = None,
    default: Reaction | None = None,
    models: Sequence[str] = (MODEL,),
    listing: Reaction | None = None,
) -> Iterator[Endpoint]:
    """
    Args:
        scripts: reactions to the questions about a picture, in turn.
        default: the reaction to all others.
        models: that it lists.
        listing: the reaction to a request for that list, if it is another one.
    """
    with running(Endpoint(scripts or {}, default or says(GOOD), models, listing)) as endpoint:
        try:
            yield endpoint
        finally:
            endpoint.over.set()


# ---- reactions


def completion(text: object, finish: str = "stop", **message: object) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "choices": [choice],
        "usage": usage,
    }


def says(text: object, finish: str = "stop", **message: object) -> Reaction:
    return lambda handler: handler.reply(completion(text, finish, **message))


def late(seconds: float, text: str = GOOD) -> Reaction:
    def react(handler: Handler) -> None:
        handler.server.over.wait(seconds)
        handler.reply(completion(text))

    return react


def fails(status: int, message: str = "no", headers: Mapping[str, str] = {}, **more: object) -> Reaction:
    return lambda handler: handler.reply({"error": {"message": message, **more}}, status, headers)


def sends(content: bytes, **headers: str) -> Reaction:
    return lambda handler: handler.reply(
        content, headers={name.replace("_", "-"): text for name, text in headers.items()}
    )


def hangs(handler: Handler) -> None:
    handler.server.over.wait(60)


def trickles(handler: Handler) -> None:
    """Sends a byte now and then, so that no single wait is long."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    while not handler.server.over.wait(0.05):
        handler.wfile.write(b" ")


def cuts(handler: Handler) -> None:
    """Promises an answer and hangs up in the middle of it."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"id": "c", "choi')
    handler.close_connection = True


def hangs_up(handler: Handler) -> None:
    """Hangs up without sending anything."""
    handler.close_connection = True


def trickles_headers(handler: Handler) -> None:
    """Sends a header now and then, and never the last."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while not handler.server.over.wait(0.05):
        handler.wfile.write(b"X-More: yes\r\n")


def floods(handler: Handler) -> None:
    """Sends as much as anybody takes."""
    handler.send_response(200)
    handler.end_headers()
    handler.close_connection = True
    while not handler.server.over.is_set():
        handler.wfile.write(b" " * 65536)


def explodes(handler: Handler) -> None:
    """Sends a little that becomes much when it is decompressed."""
    handler.reply(gzip.compress(b"0" * 2**26), headers={"Content-Encoding": "gzip"})


HALF = sends(json.dumps(completion(GOOD)).encode()[:150])
HUGE = says("word " * 400_000)
