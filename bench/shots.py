"""Precision, recall and F1 of shot boundaries on drawn films, for each way of finding them.

    python -m bench.shots [--films 4] [--seed 920000] [--before FOLDER]

Films of two kinds are drawn, as many of each, whose boundaries are known to the frame: those of the miniature world,
with cuts and dissolves of half a second; and mixtures of its scenes at 25 frames a second, with pans, grain, flashes of
one to four frames, fades through black, and dissolves of 0.4 to 1.2 s. A boundary that is found is right if it lies
within 0.1 s of a cut, or within a transition or 0.2 s beside it; each counts once. What matches nothing is false for
cuts and for dissolves alike. `--before` names a checkout of older code, measured on the same films.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from miniature.draw import draw
from miniature.film import draw_cast, encode, next_scene, truth_path, write_film
from miniature.world import PLACES, Scene
from pipeline.films.shots import FilmReader

Frames = Iterator[NDArray[np.uint8]]
SIZE, FPS = (256, 144), 25
CUT_SLACK, SOFT_SLACK = 0.1, 0.2
GOALS = {("cut", "adaptive"): 0.98, ("cut", "transnetv2"): 0.98, ("dissolve", "transnetv2"): 0.9}

OLD = """
import json, sys
from pathlib import Path
from pipeline.sources.readers import film
print(json.dumps([shot.start for shot in film.shots(Path(sys.argv[1]), "a film")][1:]))
"""


@dataclass(frozen=True)
class Boundary:
    kind: str
    """"cut", "dissolve" or "fade"."""
    start: float
    end: float
    """In seconds; equal for a cut."""

    def is_met(self, found: float) -> bool:
        slack = CUT_SLACK if self.kind == "cut" else SOFT_SLACK
        return self.start - slack <= found <= self.end + slack


@dataclass
class Count:
    hit: int = 0
    missed: int = 0
    false: int = 0

    @property
    def figures(self) -> tuple[float, float, float]:
        """Precision, recall, F1."""
        precision, recall = self.hit / max(1, self.hit + self.false), self.hit / max(1, self.hit + self.missed)
        return precision, recall, 2 * precision * recall / max(1e-9, precision + recall)


@dataclass
class Tally:
    counts: dict[str, Count] = field(default_factory=lambda: {"cut": Count(), "dissolve": Count()})
    seconds: float = 0.0

    def add(self, truth: list[Boundary], found: list[float]) -> None:
        left = list(found)
        for boundary in truth:
            met = [one for one in left if boundary.is_met(one)]
            chosen = met if boundary.kind == "fade" else met[:1]  # black between two shots may be a shot of its own
            left = [one for one in left if one not in chosen]
            if count := self.counts.get(boundary.kind):
                count.hit, count.missed = count.hit + bool(met), count.missed + (not met)
        for count in self.counts.values():
            count.false += len(left)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=4, help="films of each kind")
    parser.add_argument("--seed", type=int, default=920_000)
    parser.add_argument("--before", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        seeds = range(options.seed, options.seed + options.films)
        kinds = {"miniature": miniatures(Path(home), seeds), "mixtures": mixtures(Path(home), seeds)}
        rows = [
            (kind, way, measure(films, way, options.before))
            for kind, films in kinds.items()
            for way in ("adaptive", "transnetv2", *(("before",) if options.before else ()))
        ]
    print(f"{'films':10} {'by':11} {'kind':9} {'precision':>9} {'recall':>7} {'F1':>6} {'goal':>5} {'CPU s':>7}")
    for kind, way, tally in rows:
        for what, count in tally.counts.items():
            precision, recall, f1 = count.figures
            goal = GOALS.get((what, way), "")
            print(
                f"{kind:10} {way:11} {what:9} {precision:9.3f} {recall:7.3f} {f1:6.3f} {goal:>5} {tally.seconds:7.1f}"
            )


def measure(films: list[tuple[Path, list[Boundary]]], way: str, before: Path | None) -> Tally:
    tally = Tally()
    for path, truth in films:
        if way == "before":
            tally.add(truth, found_before(path, before))
            continue
        start = time.process_time()
        found = [shot.start for shot in FilmReader(path, way).shots()][1:]  # type: ignore[arg-type]
        tally.seconds += time.process_time() - start
        tally.add(truth, found)
    return tally


def found_before(path: Path, before: Path | None) -> list[float]:
    environment = {**os.environ, "PYTHONPATH": str(before)}
    command = [sys.executable, "-c", OLD, str(path)]
    found: list[float] = json.loads(subprocess.check_output(command, env=environment, cwd=before, text=True))
    return found


# ---- drawn films


def miniatures(home: Path, seeds: Iterable[int]) -> list[tuple[Path, list[Boundary]]]:
    films = []
    for seed in seeds:
        path = write_film(home / f"miniature-{seed}.mp4", seed, size=SIZE, fps=24)
        shots = json.loads(truth_path(path).read_text(encoding="utf-8"))["shots"][1:]
        films.append(
            (path, [Boundary(one["transition"], one["start"], one["start"] + one["dissolve"]) for one in shots])
        )
    return films


def mixtures(home: Path, seeds: Iterable[int]) -> list[tuple[Path, list[Boundary]]]:
    films = []
    for seed in seeds:
        path = home / f"mixture-{seed}.mp4"
        truth: list[Boundary] = []
        encode(path, mixture(random.Random(f"mixture {seed}"), truth), size=SIZE, fps=FPS)
        films.append((path, truth))
    return films


def mixture(rng: random.Random, truth: list[Boundary], shots: int = 20) -> Frames:
    """A film's frames; what they show is added to `truth` on the way."""
    grain = np.random.default_rng(rng.randrange(1 << 32))
    scenes, place = scene_list(rng, shots), 0
    before: list[NDArray[np.uint8]] = []
    for number, scene in enumerate(scenes):
        kind = rng.choice(["cut", "cut", "cut", "dissolve", "fade"]) if number else ""
        blend = {"dissolve": rng.randrange(10, 31), "fade": rng.randrange(10, 21)}.get(kind, 0)
        now = list(taken(rng, scene, blend, round(rng.uniform(2.4, 4.0) * FPS) + blend))
        if kind == "cut":
            yield from (noisy(grain, image) for image in before)
            place += len(before)
            truth.append(Boundary("cut", place / FPS, place / FPS))
        elif kind:
            yield from (noisy(grain, image) for image in before[: len(before) - blend])
            place += len(before) - blend
            joined = dissolved(before[-blend:], now) if kind == "dissolve" else faded(before[-blend:], now, rng)
            yield from (noisy(grain, image) for image in joined)
            truth.append(Boundary(kind, place / FPS, (place + len(joined)) / FPS))
            place, now = place + len(joined), now[blend:]
        before = now
    yield from (noisy(grain, image) for image in before)


def scene_list(rng: random.Random, count: int) -> list[Scene]:
    """Scenes that viewers can tell apart, in some places each."""
    cast, scenes = draw_cast(rng), []
    for number in range(count):
        place = rng.choice(list(PLACES)) if number % 4 == 0 else scenes[-1].place
        scenes.append(next_scene(rng, cast, place, scenes[-1] if scenes else None))
    return scenes


def taken(rng: random.Random, scene: Scene, blend: int, length: int) -> Frames:
    """A shot: still, or panned over by up to a half of the frame a second; some with a flash, outside of transitions.

    Args:
        blend: frames at its beginning that are part of a transition.
    """
    width, speed = SIZE[0], rng.choice([0.0, 0.0, rng.uniform(-0.5, 0.5)])
    start, lasts = blend + rng.randrange(10, 16), rng.choice([0, 0, 1, 2, 4])
    flashes = range(start, start + lasts)
    for n in range(length):
        image = draw(scene, time=n / FPS, size=SIZE)
        if speed:
            shift = abs((speed * width * n / FPS) % (2 * width) - width)  # there and back, on a wide canvas
            wide = np.hstack([image, image[:, ::-1]])
            image = np.ascontiguousarray(wide[:, int(shift) : int(shift) + width])
        yield cv2.add(image, (140, 140, 140, 0)) if n in flashes else image


def dissolved(old: list[NDArray[np.uint8]], new: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    count = len(old)
    return [
        cv2.addWeighted(one, 1 - (n + 1) / (count + 1), other, (n + 1) / (count + 1), 0)
        for n, (one, other) in enumerate(zip(old, new, strict=False))
    ]


def faded(old: list[NDArray[np.uint8]], new: list[NDArray[np.uint8]], rng: random.Random) -> list[NDArray[np.uint8]]:
    count = len(old)
    black = [np.zeros_like(old[0])] * rng.randrange(3, 20)
    dark = [cv2.convertScaleAbs(one, alpha=1 - (n + 1) / count) for n, one in enumerate(old)]
    light = [cv2.convertScaleAbs(one, alpha=(n + 1) / count) for n, one in enumerate(new[:count])]
    return [*dark, *black, *light]


def noisy(grain: np.random.Generator, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    noise = grain.normal(0, 6, image.shape[:2]).astype(np.int16)
    return np.clip(image.astype(np.int16) + noise[..., None], 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
