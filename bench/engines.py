"""The engine ray against the engine of this process: the same tables and pictures, and what a second worker brings.

    python -m bench.engines [--pictures 20000] [--only equal] [--rounds 3]

Draws small pictures in sets of three, each with a text. *equal* takes them through all stages up to the filter with
both engines, with the miniature's CLIP, and compares every table row for row and every file of the two runs byte for
byte. *scaling* measures the pictures of one run again with one worker and with two, in turns, and takes medians; Ray's
start-up and the first tenth of the batches are left out. The floor is twice the rate of one worker. CPU seconds of the
driver per batch are told too: they are what stays serial where there are many machines.

Fails if anything differs, or if two workers are less than 1.6 times as fast as one. The load of the machine is told,
since it takes from two workers more than from one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import cv2
import numpy as np

import iclora
from iclora import StageResult
from pipeline import task
from pipeline.engines import base
from pipeline.engines import ray as engine
from pipeline.errors import EmptyResult
from pipeline.records import Position, Record
from pipeline.stages import inspect
from pipeline.store import Store

LEAST = 1.6
SIZE, PANELS = (192, 128), 3
CLIP = Path(__file__).parents[1] / "miniature" / "clip"
SETTINGS = (
    "layout.panel_width=128",
    "layout.panel_height=64",
    "group.by=folders",
    "group.prove=false",
    "grids=[1, 4000]",
    f"scorer.model=local-dir:{CLIP}",
)
WORKERS = (1, 2)
FILES = ("grids", "cache/vectors")


def draw(folder: Path, pictures: int) -> None:
    """Sets of related pictures, a folder each, with a text beside every picture."""

    def one(number: int) -> None:
        rng = np.random.default_rng([number // PANELS, 0])
        scene = rng.integers(0, 256, (5, 8, 3), np.uint8)
        own = np.random.default_rng(number).integers(0, 90, scene.shape, np.uint8)
        picture = cv2.resize(np.roll(scene, number % PANELS, axis=1) // 2 + own, SIZE, interpolation=cv2.INTER_CUBIC)
        file = folder / f"{number // PANELS:06}" / f"{number % PANELS}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), picture)
        file.with_suffix(".txt").write_text(f"the {number % PANELS + 1}. of the pictures of number {number // PANELS}")

    with ThreadPoolExecutor() as pool:
        list(pool.map(one, range(pictures)))


def advance(source: Path, folder: Path, name: str) -> None:
    """Takes the pictures through the stages; prints the seconds of each."""
    own = [*SETTINGS, "engine.least=0"] if name == "ray" else SETTINGS
    start = time.perf_counter()
    with iclora.open_run(
        "storyboard", source, settings=own, captioner="sidecar", scorer="open_clip", engine=name, folder=folder
    ) as run:
        results: list[StageResult] = []
        with suppress(EmptyResult):  # the miniature finds the texts alike
            run.advance("filter", on_result=results.append)
    seconds = ", ".join(f"{result.name} {result.kept:,} in {result.seconds:.1f} s" for result in results)
    print(f"{name}: {time.perf_counter() - start:.0f} s ({seconds})", flush=True)


def contents(folder: Path) -> Iterator[tuple[str, object]]:
    """Every row of the tables, and the hash of every file, under its name."""
    with Store(folder) as store:
        for name in store.counts():
            if name != "stages":
                yield from ((f"{name} {number}", json.dumps(row)) for number, row in enumerate(store.table(name)))
    for part in FILES:
        for file in sorted((folder / part).rglob("*.*")):
            yield str(file.relative_to(folder)), hashlib.sha256(file.read_bytes()).hexdigest()


def equal(source: Path, home: Path) -> bool:
    """Whether both engines came to the same."""
    for name in ("local", "ray"):
        advance(source, home / name, name)
    local, ray = (dict(contents(home / name)) for name in ("local", "ray"))
    different = [name for name in local | ray if local.get(name) != ray.get(name)]
    print(f"equal: {len(local):,} rows and files, {len(different)} of them different {different[:3]}", flush=True)
    return not different


def rate(records: list[Record], folder: Path, workers: int) -> tuple[float, float]:
    """Pictures per second, and the driver's CPU seconds per batch, after the first tenth."""
    load = task.load("storyboard", SETTINGS)
    stage = inspect.stage(load, folder, workers)
    made, reached = engine.make({"least": 0, "workers": workers}), []

    def note(_: str, done: int, total: int, /) -> None:
        reached.append((done, time.perf_counter(), time.process_time()))

    with Store(folder) as store, made.working(folder, []):
        base.run(stage, records, store, upstream="", progress=note, engine=made)
    begun = next(entry for entry in reached if entry[0] >= len(records) / 10)
    done, seconds, own = (last - first for first, last in zip(begun, reached[-1], strict=True))
    return done / seconds, own / (done / (stage.batch or 1))


def scaling(records: list[Record], home: Path, rounds: int) -> bool:
    """Whether two workers are as much faster than one as they have to be."""
    found: dict[int, list[tuple[float, float]]] = {count: [] for count in WORKERS}
    for number in range(rounds):
        for count in WORKERS:
            found[count].append(rate(records, home / f"{number}-{count}", count))
            here = found[count][-1]
            print(f"{count} workers: {here[0]:.0f} pictures/s, driver {1000 * here[1]:.1f} ms of CPU per batch of 32; "
                  f"load {os.getloadavg()[0]:.1f}", flush=True)  # fmt: skip
    one, two = (statistics.median(rates for rates, _ in found[count]) for count in WORKERS)
    print(f"scaling: {one:.0f} and {two:.0f} pictures/s, ratio {two / one:.2f} (floor 2, at least {LEAST})")
    return two / one >= LEAST


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--only", choices=("equal", "scaling"))
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        start = time.perf_counter()
        draw(home / "source", asked.pictures)
        print(f"{asked.pictures:,} pictures drawn in {time.perf_counter() - start:.0f} s, {os.cpu_count()} cores")
        if asked.only != "scaling":
            good &= equal(home / "source", home)
        if asked.only != "equal":
            files = sorted((home / "source").rglob("*.jpg"))
            records = [Record(file.parent.name + file.stem, str(file), str(file), Position()) for file in files]
            good &= scaling(records, home, asked.rounds)
    sys.exit(not good)


if __name__ == "__main__":
    main()
