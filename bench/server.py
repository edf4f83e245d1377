"""How well the server captioner uses its concurrency, with a server that answers every question in 200 ms.

    python -m bench.server [--grids 256]

Asks about drawn storyboard grids (three panels of 1024 x 512 pixels, about 0.4 MB of JPEG per question): 8 one by one,
then 64 with 16 concurrent requests. Fails if the 64 take 1.6 s or more; the optimum is 0.8 s.

Then the caption stage over grids with film grain in PNG files, with 16 and with 4 concurrent requests: with the JPEGs
that `compose` keeps of panels while it has their pixels, and without them, as for a run whose captions are asked for
once more. Floors, measured in the same run, the fastest of two rounds each: what the server takes at least, and
decoding the files on all cores; without JPEGs also decoding and what every request needs besides (the key of the
answer, JPEGs, JSON). What `compose` does ahead is timed, and counted too. In brackets the CPU time of this process per
grid, which other programs disturb less. Fails if the stage takes more than 1.3 times the longer of the first two
floors, or without JPEGs more than 1.5 times the longest.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from bench.batches import ask_for
from captioners import server
from captioners.server import requests
from pipeline import pixels, task
from pipeline.cache import Cache
from pipeline.captioning.answers import Answers
from pipeline.captioning.jpegs import Form, Ready
from pipeline.captioning.protocol import Question
from pipeline.engines import local
from pipeline.pixels import png
from pipeline.records import Caption, Grid, Group, Position, Record
from pipeline.stages import caption
from pipeline.store import Store
from pipeline.text.counters import ESTIMATE

ANSWER = 0.2  # seconds
MOST = 1.6  # seconds
GOAL, GOAL_OPENED = 1.3, 1.5
ROUNDS = 2
GRAIN = 9.0  # standard deviation, of 255
TEXTS = ("<P1> rows a red boat", "gulls fly over the roofs", "<P1> mends a long net")
CAPTION = json.dumps(
    {
        "panels": [{"text": text} for text in TEXTS],
        "people": [{"name": "P1", "looks": "a man in a blue cap"}],
        "summary": "a day of <P1> by the sea",
    }
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grids", type=int, default=256)
    count = parser.parse_args().grids
    with endpoint() as url, tempfile.TemporaryDirectory() as folder:
        seconds(url, 1, 1)  # warm-up
        single, many = seconds(url, 8, 1), seconds(url, 64, 16)
        ratio = (single / 8) / (many / 64)
        print(
            f"8 grids one by one {single:.2f} s, 64 grids 16 at a time {many:.2f} s: {ratio:.1f} times as fast per grid"
        )
        ready_made, opened = from_files(url, Path(folder), count)
    if many >= MOST:
        sys.exit(f"64 grids took {many:.2f} s, but must take less than {MOST} s")
    if ready_made > GOAL or opened > GOAL_OPENED:
        sys.exit(f"the stage took {ready_made:.2f} and {opened:.2f} times its floors, at most {GOAL} and {GOAL_OPENED}")


def seconds(url: str, grids: int, concurrency: int) -> float:
    captioner = server.make({"url": url, "model": "none", "concurrency": concurrency})
    asked = ask_for(grids)
    started = time.perf_counter()
    answers = dict(captioner.ask(asked))
    waited = time.perf_counter() - started
    lost = grids - sum(answer.text == CAPTION for answer in answers.values())
    if lost:
        sys.exit(f"{lost} of {grids} grids got no answer")
    return waited


# ---- the stage, from files


class Took(NamedTuple):
    """What something took for all grids."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds of this process, all threads together."""

    def on(self, count: int) -> str:
        return f"{self.wall:.2f} s ({1000 * self.cpu / count:.0f} ms)"


def from_files(url: str, folder: Path, count: int) -> tuple[float, float]:
    """Prints what the stage takes beside its floors; gives the worst ratios to them, with and without JPEGs."""
    grids = write(folder, count)
    ready = Ready(Cache(folder / "run" / "cache"), Form(server.MEGAPIXEL, server.QUALITY))
    answers = Answers(server.make({"url": url, "model": "none"}), Cache(folder / "cache"), "")
    (example,) = ask_for(1)

    def decode(grid: Grid) -> Image.Image:
        return pixels.open_image(folder / grid.path)

    def keep(grid: Grid) -> None:
        ready.keep(grid, decode(grid))

    def prepare(grid: Grid) -> int:
        panels = tuple(pixels.cut(decode(grid), grid.layout))
        question = Question(panels, example.texts, example.markers, example.instruction)
        answers.key(question)
        messages = requests.messages(question, "panels", server.MEGAPIXEL, server.QUALITY)
        return len(requests.encoded({"messages": messages}))

    worst = [0.0, 0.0]
    for concurrency in (16, 4):
        stage = partial(captioned, url, folder, grids, concurrency)  # what was kept last is there once
        floors = [partial(on_all_cores, work, grids) for work in (decode, prepare, keep)]
        decoding, preparing, kept, ready_made, opened = fastest([*floors, stage, stage])
        least = ANSWER * count / concurrency
        floor, longest = max(least, decoding.wall), max(least, preparing.wall)
        ahead = Took(max(0.0, kept.wall - decoding.wall), kept.cpu - decoding.cpu)
        print(f"{count} grids, {concurrency} at a time: the server takes {least:.2f} s, decoding {decoding.on(count)}")
        print(f"  with JPEGs {ready_made.on(count)}, {ready_made.wall / floor:.2f} times the longer of these; making")
        print(f"    them in compose {ahead.on(count)}, together {(ready_made.wall + ahead.wall) / floor:.2f} times")
        print(f"  without {opened.on(count)}, {opened.wall / floor:.2f} times the longer of these, and")
        print(f"    {opened.wall / longest:.2f} times the longest with preparing requests, {preparing.on(count)}")
        worst = [max(worst[0], ready_made.wall / floor), max(worst[1], opened.wall / longest)]
    for grid in grids:
        keep(grid)
    kept_bytes = sum(file.stat().st_size for file in (folder / "run").rglob("*.jpegs"))
    print(f"  JPEGs until their grid is described: {kept_bytes / count / 1e6:.2f} MB per grid")
    return worst[0], worst[1]


def fastest(sides: Sequence[Callable[[], object]]) -> list[Took]:
    """The least that each side took; the sides take turns."""
    took = [Took(float("inf"), float("inf"))] * len(sides)
    for number, side in [*enumerate(sides)] * ROUNDS:
        wall, cpu = time.perf_counter(), time.process_time()
        side()
        now = Took(time.perf_counter() - wall, time.process_time() - cpu)
        took[number] = Took(min(took[number].wall, now.wall), min(took[number].cpu, now.cpu))
    return took


def write(folder: Path, count: int) -> list[Grid]:
    """Grids with grain, no two alike."""
    layout = task.load("storyboard").grid_layout
    drawn = [np.concatenate([np.asarray(panel, np.int16) for panel in each.panels]) for each in ask_for(8)]
    rng = np.random.default_rng(0)
    grain = (rng.normal(0, GRAIN, (*drawn[0].shape[:2], 1)) + rng.normal(0, GRAIN / 3, drawn[0].shape)).astype(np.int16)
    (folder / "grids").mkdir()
    grids = []
    for number in range(count):
        picture = drawn[number % len(drawn)] + np.roll(grain, (7 * number, 13 * number), (0, 1))
        content = png.encode(Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)))
        (folder / "grids" / f"{number}.png").write_bytes(content)
        records = tuple(Record(f"r{number}-{panel}", "", "", Position()) for panel in range(layout.size))
        group = Group(f"s{number}", "", records, "", 1)
        grids.append(Grid(f"g{number}", group, layout, f"grids/{number}.png", f"pixels {number}"))
    return grids


def on_all_cores(work: Callable[[Grid], object], grids: Sequence[Grid]) -> None:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(work, grids):
            pass


def captioned(url: str, folder: Path, grids: Sequence[Grid], concurrency: int) -> None:
    """Runs the stage from nothing but the pictures; leaves nothing."""
    run = folder / "run"
    captioner = server.make({"url": url, "model": "none", "concurrency": concurrency})
    with Store(run) as store:
        places = caption.places(grids)
        parameters = caption.Parameters(task.load("storyboard"), captioner, folder, store.cache, ESTIMATE, places)
        local.run(caption.stage(parameters), grids, store, upstream="", progress=lambda *_: None)
        made = store.items(Caption, "captions")
    if [one.grid for one in made if one.attempts == 1] != [grid.id for grid in grids]:
        sys.exit("a grid got no caption at once")
    shutil.rmtree(run)


# ---- the server


async def serve(address: SimpleQueue[str]) -> None:
    """Reads each request to its end, waits, and answers with one caption."""
    message = {"role": "assistant", "content": CAPTION}
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
