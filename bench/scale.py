"""How the steps that compare a run with itself grow with its size: seconds, the exponent between sizes, peak memory.

    python -m bench.scale [--only copies] [--largest]

Each step runs at sizes that grow by four, on made-up data like that of a run: hashes of which a tenth have near-copies,
unit vectors of groups from forty films and of grids of three panels, 512 numbers each, rows of a data set, a folder of
ready-made grids with their captions. The exponent is that between the two largest sizes: 1 is linear, 2 quadratic.
`--largest` goes on to the sizes that the goals name, which takes many minutes. The floor of each step is measured in
the same run: one sort of the hashes, one product of the matrices (of the vectors and as many as there are cells), one
look at each vector, one sort of the rows, one look at each file.

Fails if an exponent is above its goal; those of the choice and of earlier grids are products of two sizes.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from PIL import Image

from bench import memory
from pipeline import task
from pipeline.consistency import repetition
from pipeline.dataset import split
from pipeline.duplicates import index, vectors
from pipeline.duplicates.base import Limits, Looks
from pipeline.grouping import choice
from pipeline.grouping.pictures import Pictures
from pipeline.grouping.strategies import shots
from pipeline.grouping.strategies.base import Formed, sequence_of
from pipeline.grouping.vetoes import Vetoes
from pipeline.records import Caption, Grid, Group, Position, Record, Row
from pipeline.rows import OnDisk
from pipeline.sources.readers import grid
from pipeline.stages import collect
from pipeline.text import grammar

RADIUS = 6
NEAR = 0.1
"""Share of the hashes that are near another."""
DIMENSIONS, PANELS, FILMS = 512, 3, 40


@dataclass(frozen=True)
class Step:
    """A step at one size: what is timed, and the least that it could take."""

    run: Callable[[], object]
    floor: Callable[[], object]


def _hashes(count: int) -> Step:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 1 << 64, count, np.uint64)
    copies = rng.choice(count, int(NEAR * count), replace=False)
    for place in copies:
        flips = rng.choice(64, rng.integers(0, RADIUS + 1), replace=False)
        hashes[place] = hashes[place - 1] ^ np.bitwise_or.reduce(np.uint64(1) << flips.astype(np.uint64), initial=0)
    hashes = np.unique(hashes)
    return Step(lambda: index.pairs(hashes, RADIUS), lambda: np.sort(hashes))


def _vectors(count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((count, DIMENSIONS), np.float32)
    return drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)


def _alike(count: int) -> Step:
    """Near copies by vector, more than are compared all with all: the vectors on the disk, as in a run."""
    drawn, rng = _vectors(count), np.random.default_rng(1)
    copies = rng.choice(np.arange(1, count), int(NEAR * count), replace=False)
    drawn[copies] = drawn[copies - 1] + 0.005 * rng.standard_normal((len(copies), DIMENSIONS), np.float32)
    drawn /= np.linalg.norm(drawn, axis=-1, keepdims=True)
    home = tempfile.TemporaryDirectory(prefix="scale")
    rows = OnDisk(Path(home.name), count)
    for place, row in enumerate(drawn):
        rows.put(place, row)
    looks = Looks([], np.ones((count, 1), np.float32), rows)

    def found() -> None:
        assert home.name  # kept for as long as this is
        assert len(list(vectors.copies(looks, np.arange(count), Limits(RADIUS, 0.95, 0.97), 0))) > NEAR * count / 2

    return Step(found, lambda: drawn @ drawn[: int(4 * count**0.5)].T)


def _groups(count: int) -> Step:
    """The shots of films along which groups form, with what is known of strangers from a first time."""
    board, home = task.load("storyboard"), tempfile.TemporaryDirectory(prefix="scale")
    records, scorer = list(memory.measured(list(memory.collected(memory.listed(count))))), memory.Drawn()
    rows = OnDisk(Path(home.name), count)
    for place in range(count):
        rows.put(place, scorer.image_vectors([place])[0])
    vetoes = Vetoes(board, Pictures.of(board, records, rows), 0.97)
    first = [one.records for one in shots.form(records, board, vetoes) if isinstance(one, Formed)]
    known = vetoes.learn(first, [sequence_of(some[0]) for some in first], records)

    def formed() -> None:
        assert home.name  # kept for as long as this is
        assert len(list(shots.form(records, board, known))) > count / PANELS / 2

    return Step(formed, lambda: [rows[start : start + 1000] for start in range(0, count, 1000)])


def _choice(count: int, share: int) -> Step:
    drawn, most = _vectors(count), max(1, count // share)
    sources = [number % FILMS for number in range(count)]
    return Step(
        lambda: choice.farthest_first(drawn, sources, most, most),
        lambda: (drawn @ drawn[:most].T).max() if count * most < 1 << 28 else None,
    )


def _loss(count: int = 16_000, share: int = 10, parts: int = 6) -> None:
    """Prints how well a choice within parts of the sources covers the pool, beside one among all and the first ones.

    Every film has its own look, and shots that are variations of forty scenes.
    """
    rng, of = np.random.default_rng(1), np.arange(count) % FILMS
    looks, scenes = rng.standard_normal((FILMS, DIMENSIONS)), rng.standard_normal((FILMS, 40, DIMENSIONS))
    shown = scenes[of, rng.integers(0, 40, count)]
    drawn = (looks[of] + shown + 0.5 * rng.standard_normal((count, DIMENSIONS))).astype(np.float32)
    vectors = drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)
    most = count // share

    def covered(taken: set[int]) -> float:
        return float((vectors @ vectors[sorted(taken)].T).max(axis=1).mean())

    usual = choice.COMPARISONS
    whole = choice.farthest_first(vectors, of.tolist(), most, most)
    choice.COMPARISONS = count * most // parts
    dealt = choice.farthest_first(vectors, of.tolist(), most, most)
    choice.COMPARISONS = usual
    print(
        f"mean cosine to the nearest of {most:,} taken: {covered(whole):.4f} chosen among all, {covered(dealt):.4f} "
        f"within {parts} parts, {covered(set(range(most))):.4f} the first ones"
    )


def _earlier(count: int) -> Step:
    panels = _vectors(count * PANELS).reshape(count, PANELS, DIMENSIONS)
    flat = panels.reshape(-1, DIMENSIONS)

    def product() -> None:
        for start in range(0, len(flat), 192):
            flat[: start + 192] @ flat[start : start + 192].T

    return Step(lambda: repetition.earlier(panels), product)


def _split(count: int) -> Step:
    storyboard = task.load("storyboard")
    rows = []
    for number in range(count):
        records = tuple(
            Record(f"{number}-{panel}", "", "", Position(film=f"{number // 20}.mp4")) for panel in range(PANELS)
        )
        group = Group(f"s{number}", storyboard.name, records, "", 1)
        rows.append(Row(Grid(f"g{number}", group, storyboard.grid_layout, ""), Caption("", "", "", ())))
    return Step(lambda: split.divide(rows, storyboard), lambda: sorted(row.id for row in rows))


def _sets(count: int) -> Step:
    """Grids of as many rows as columns, which are told from panels by the captions beside the others."""
    square = task.load("home-decoration")
    home = tempfile.TemporaryDirectory(prefix="scale")
    folder = Path(home.name)
    Image.new("RGB", (32, 32)).save(folder / "0.png")
    for number in range(count):
        if number:
            os.link(folder / "0.png", folder / f"{number}.png")
        text = grammar.render(f"story {number}", [f"thing {number} is seen"] * len(square.markers), [], square)
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")

    def recognised() -> None:
        assert home.name  # kept for as long as this is
        items = collect.find([folder], square)
        assert len(items) == sum(grid.claims(item, item.head(), square, folder) for item in items) == count

    return Step(recognised, lambda: [path.read_bytes() for path in sorted(folder.iterdir())])


STEPS: dict[str, tuple[Callable[[int], Step], tuple[int, ...], int, float]] = {
    "copies": (_hashes, (16_000, 64_000, 256_000), 1_000_000, 1.2),
    "alike": (_alike, (25_000, 50_000), 1_000_000, 1.5),
    "groups": (_groups, (2_500, 10_000, 40_000), 160_000, 1.2),
    "choice": (partial(_choice, share=100), (4_000, 16_000, 64_000), 1_000_000, 2.0),
    "large choice": (partial(_choice, share=10), (2_000, 8_000, 32_000), 1_000_000, 2.0),
    "earlier": (_earlier, (640, 2_560), 10_000, 2.0),
    "split": (_split, (4_000, 16_000, 64_000), 256_000, 1.2),
    "sets": (_sets, (500, 2_000, 8_000), 32_000, 1.2),
}
"""How a step is made, its sizes, the size of its goal, and the largest exponent. The choices take a hundredth and a
tenth of the groups, so their work grows as the square; vectors are put into as many cells as four roots of them."""
TOLERANCE = 0.15
"""Of exponents: the machine is shared."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(STEPS))
    parser.add_argument("--largest", action="store_true", help="go on to the sizes of the goals")
    options = parser.parse_args()
    failed = False
    for name, (make, sizes, goal, most) in STEPS.items():
        if options.only in {None, name}:
            failed |= not _measured(name, make, (*sizes, goal) if options.largest else sizes, most)
    if options.only in {None, "large choice"}:
        _loss()
    sys.exit(failed)


def _measured(name: str, make: Callable[[int], Step], sizes: tuple[int, ...], most: float) -> bool:
    took = []
    for size in sizes:
        step = make(size)
        took.append(_seconds(step.run))
        floor = _seconds(step.floor)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{name:12} {size:>9,}: {took[-1]:8.2f} s, floor {floor:8.2f} s, ratio {took[-1] / floor:6.1f}, "
              f"peak of the process {peak:,.0f} MB", flush=True)  # fmt: skip
    exponent = math.log(took[-1] / took[-2]) / math.log(sizes[-1] / sizes[-2])
    print(f"{name:12} exponent {exponent:.2f}, at most {most}", flush=True)
    return exponent <= most + TOLERANCE


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
