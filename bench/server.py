"""How well the server captioner uses its concurrency, with a server that answers every question in 200 ms.

    python -m bench.server

Asks about drawn storyboard grids (three panels of 1024 x 512 pixels, about 0.4 MB of JPEG per question): 8 one by one,
then 64 with 16 concurrent requests. Fails if the 64 take 1.6 s or more; the optimum is 0.8 s.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.queues import SimpleQueue

from bench.batches import ask_for
from captioners import server

ANSWER = 0.2  # seconds
MOST = 1.6  # seconds


def main() -> None:
    with endpoint() as url:
        seconds(url, 1, 1)  # warm-up
        single, many = seconds(url, 8, 1), seconds(url, 64, 16)
    ratio = (single / 8) / (many / 64)
    print(f"8 grids one by one {single:.2f} s, 64 grids 16 at a time {many:.2f} s: {ratio:.1f} times as fast per grid")
    if many >= MOST:
        sys.exit(f"64 grids took {many:.2f} s, but must take less than {MOST} s")


def seconds(url: str, grids: int, concurrency: int) -> float:
    captioner = server.make({"url": url, "model": "none", "concurrency": concurrency})
    asked = ask_for(grids)
    started = time.perf_counter()
    answers = dict(captioner.ask(asked))
    waited = time.perf_counter() - started
    lost = grids - sum(answer.text == "seen" for answer in answers.values())
    if lost:
        sys.exit(f"{lost} of {grids} grids got no answer")
    return waited


async def serve(address: SimpleQueue[str]) -> None:
    """Reads each request to its end, waits, and answers with one word."""
    message = {"role": "assistant", "content": "seen"}
    body = json.dumps({"choices": [{"index": 0, "finish_reason": "stop", "message": message}]}).encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
                await reader.readexactly(int(fields.get(b"content-length", 0)))
                await asyncio.sleep(ANSWER)
                writer.write(answer)
        except asyncio.IncompleteReadError:  # the client is done
            writer.close()

    listening = await asyncio.start_server(reply, "127.0.0.1", 0)
    address.put(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1")
    await listening.serve_forever()


def serve_alone(address: SimpleQueue[str]) -> None:
    asyncio.run(serve(address))


@contextmanager
def endpoint() -> Iterator[str]:
    """Runs the server in a separate process."""
    spawn = multiprocessing.get_context("spawn")
    address: SimpleQueue[str] = spawn.SimpleQueue()
    process = spawn.Process(target=serve_alone, args=(address,), daemon=True)
    process.start()
    try:
        yield address.get()
    finally:
        process.terminate()
        process.join()


if __name__ == "__main__":
    main()
