"""How much memory a run takes per picture, from its sources to its groups.

    python -m bench.memory [--vectors] [--pictures 1000 10000 100000] [--largest]

Sends made-up pictures through the run's own stages collect, inspect and group, with its engine and its store; only what
reads the pixels is replaced by what it would find: different hashes and histograms, shots of films of 50. There is no
scorer, unless `--vectors` is given: then there is one, whose vectors of 512 numbers are drawn at random about a centre
of their film, and go into the run's cache and out of it as any. Each size runs in a process of its own. Prints, stage
by stage, the seconds and the peak of the process in MB, then the bytes per picture between the two largest sizes and
what a million would take by these. `--largest` runs the million.

Fails if 100,000 pictures take 1 GB or more, or a million, run or reckoned, 4 GB or more.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

from iclora import stages
from iclora.run import Run
from iclora.settings import Settings
from pipeline.consistency.similarity import Encoder
from pipeline.engines import local
from pipeline.progress import silent
from pipeline.records import Record
from pipeline.sources.base import Item
from pipeline.sources.disk import File
from pipeline.sources.gathering import Items

FILM = 50
"""Shots of a film."""
DIMENSIONS = 512
CHAIN = ("collect", "inspect", "group")
GOALS = {100_000: 1e9, 1_000_000: 4e9}
"""Bytes, by pictures."""


def listed(count: int) -> Items:
    """So many made-up shots of films, as items of a source."""
    home = "/data/pictures of the films"
    names = (f"film-{number // FILM:06}/{number:08}.png" for number in range(count))
    return Items(Item(home, name, File(Path(home) / name, 1_700_000_000_000_000_000, 1_234_567)) for name in names)


def collected(batch: Sequence[Item]) -> Iterator[Record]:
    """Their records, as `collect` would make them."""
    for item in batch:
        number = int(item.stem)
        shot = number % FILM
        position = item.position(film=f"film-{number // FILM:06}.mp4", shot=shot, time=4.0 * shot)
        yield item.record(f"{number:064x}", Path("collected") / "shots" / f"{number:064x}.png", position)


def measured(batch: Sequence[Record]) -> Iterator[Record]:
    """The records with measures as of different pictures; those of one film have colours in common."""
    for record in batch:
        number = int(record.id, 16)
        rng = np.random.default_rng(number)
        drawn = rng.bytes(32 + 4 * 8 + 8).hex()
        film = np.random.default_rng(number // FILM).random(128) ** 4
        colours = np.sqrt(film + 0.3 * rng.random(128) ** 4)
        histogram = np.round(255 * colours / np.linalg.norm(colours)).astype(np.uint8).tobytes().hex()
        yield replace(
            record, width=1920, height=1080, pixels=drawn[:64], turned=drawn[64:128], phash=drawn[128:],
            sharpness=round(100 + rng.random(), 3), exposure=round(rng.random(), 4), histogram=histogram,
        )  # fmt: skip


class Drawn:
    """A scorer whose images are numbers."""

    def identity(self) -> dict[str, str]:
        return {"scorer": "drawn", "kind": "clip"}

    def image_vectors(self, images: Sequence[int]) -> np.ndarray:
        centres = np.stack([np.random.default_rng(number // FILM).standard_normal(DIMENSIONS) for number in images])
        own = np.stack([np.random.default_rng(number).standard_normal(DIMENSIONS) for number in images])
        vectors = (centres + own).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)

    def text_vectors(self, texts: Sequence[str]) -> np.ndarray:
        raise NotImplementedError  # no stage up to the groups reads any


def _fitted(_: Encoder, missing: Mapping[str, tuple[int, Record]], layout: object) -> Iterator[tuple[str, int]]:
    return ((key, int(record.id, 16)) for key, (_, record) in missing.items())


def run(count: int, folder: Path, *, vectors: bool) -> None:
    """Takes so many pictures through the stages; prints a line of JSON per stage: name, seconds, peak in bytes."""
    settings = Settings(task="storyboard", scorer="none", overrides=("group.prove=false",))
    print(json.dumps(["start", 0, _peak()]), flush=True)
    with Run(settings, folder) as one:
        if vectors:
            one.scorer = Drawn()
            Encoder._fitted = _fitted
        items = listed(count)
        print(json.dumps(["items", 0, _peak()]), flush=True)
        for name in CHAIN:
            started = time.perf_counter()
            work = stages.work(one, name, items, silent)
            instead = {"collect": collected, "inspect": measured}
            stage = replace(work.stage, run=instead[name], batch=1000) if name in instead else work.stage
            local.run(stage, work.inputs, one.store, upstream=work.upstream, progress=silent)
            del work, stage
            items = Items()
            print(json.dumps([name, time.perf_counter() - started, _peak()]), flush=True)
        print(json.dumps([f"{one.store.count('groups')} groups", 0, _peak()]), flush=True)


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--largest", action="store_true", help="go on to a million")
    parser.add_argument("--vectors", action="store_true", help="with a scorer's vectors")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        with tempfile.TemporaryDirectory(prefix="memory") as home:
            run(options.one, Path(home), vectors=options.vectors)
        return
    sizes = [*options.pictures, *([1_000_000] if options.largest else [])]
    peaks = {count: _measure(count, vectors=options.vectors) for count in sizes}
    least, most = sizes[-2:]
    each = (peaks[most] - peaks[least]) / (most - least)
    peaks.setdefault(1_000_000, int(peaks[most] + each * (1_000_000 - most)))
    print(f"{each:,.0f} bytes per picture; a million: {peaks[1_000_000] / 1e9:.2f} GB")
    sys.exit(any(peaks.get(count, 0) >= goal for count, goal in GOALS.items()))


def _measure(count: int, *, vectors: bool) -> int:
    """The peak of a process that takes so many pictures through the stages, in bytes."""
    words = [sys.executable, "-m", "bench.memory", "--one", str(count), *(["--vectors"] if vectors else [])]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    told = ", ".join(f"{name} {seconds:.1f} s {peak / 1e6:,.0f} MB" for name, seconds, peak in lines)
    print(f"{count:>9,}: {told}", flush=True)
    return int(lines[-1][2])


if __name__ == "__main__":
    main()
