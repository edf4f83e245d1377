"""CPU and wall-clock seconds for collecting films of 1080p, against decoding them alone and against scenedetect.

    python -m bench.films [--films 2] [--shots 16] [--rounds 2] [--film PATH]

Draws films of 1080p at 25 frames a second with camera grain (H.264, some 18 Mbit/s, a shot about 3 s), or takes the
given one. Measured by turns: decoding all frames with PyAV in as many threads as libav takes; the reader of one film,
as `iclora collect` uses it; PySceneDetect's own command, `scenedetect -i film detect-adaptive list-scenes`; then all
films by the stage, in one process and in one for each. The best of all rounds counts. CPU seconds tell what work there
is, whoever else uses the machine; wall-clock seconds mean something on an idle one only.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from miniature import film as drawn
from pipeline import task
from pipeline.engines import local
from pipeline.progress import silent
from pipeline.sources.readers import film
from pipeline.stages import collect
from pipeline.store import Store

SIZE, FPS = (1920, 1080), 25
SLOWER = 2.2
"""Times as long as those of the miniature world, shots last about as long as in films."""
GRAIN, SPARE = 6.0, 64
"""Levels of grain before it is blurred, and pixels by which it moves from frame to frame."""
GOAL, GOAL_COMMAND = 1.4, 0.75
"""Times decoding, and times scenedetect's command, that collecting may take."""
STORYBOARD = task.load("storyboard")
Seconds = tuple[float, float]
"""Of CPU, and by the clock."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=2)
    parser.add_argument("--shots", type=int, default=16, help="of each film")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--film", type=Path, help="a film to measure instead of drawn ones")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        paths = [given.film] if given.film else [draw(Path(home), 921_001 + n, given.shots) for n in range(given.films)]
        ways: dict[str, Callable[[], object]] = {
            "decoding": lambda: decode(paths[0]),
            "scenedetect": lambda: command(paths[0]),
            "collect": lambda: read(paths[0]),
            "all films, one process": lambda: run_stage(paths, 1),
            f"all films, {len(paths)} processes": lambda: run_stage(paths, len(paths)),
        }
        if len(paths) == 1:
            ways = dict(list(ways.items())[:3])
        best = measure(ways, given.rounds)
    cpu, wall = best["decoding"]
    print(f"{'':26}{'CPU s':>8}{'x':>7}{'wall s':>9}{'x':>7}")
    for name, (spent, passed) in best.items():
        print(f"{name:26}{spent:8.2f}{spent / cpu:7.2f}{passed:9.2f}{passed / wall:7.2f}")
    ours, theirs = best["collect"], best["scenedetect"]
    print(f"against decoding (goal {GOAL}): CPU {ours[0] / cpu:.2f}, wall {ours[1] / wall:.2f}")
    print(f"against the command (goal {GOAL_COMMAND}): CPU {ours[0] / theirs[0]:.2f}, wall {ours[1] / theirs[1]:.2f};")
    print(f"decoding alone is {cpu / theirs[0]:.2f} and {wall / theirs[1]:.2f} of it")


def measure(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, Seconds]:
    found: dict[str, list[Seconds]] = {name: [] for name in ways}
    ways["collect"]()  # what is imported once is not counted
    for _ in range(rounds):
        for name, way in ways.items():
            cpu, wall = spent(), time.perf_counter()
            way()
            found[name].append((spent() - cpu, time.perf_counter() - wall))
    return {name: (min(cpu for cpu, _ in times), min(wall for _, wall in times)) for name, times in found.items()}


def spent() -> float:
    """CPU seconds of this process and of those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


# ---- what is measured


def decode(path: Path) -> int:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        return sum(1 for _ in container.decode(stream))


def command(path: Path) -> None:
    program = shutil.which("scenedetect", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        sys.exit("PySceneDetect's command is not there: pip install scenedetect-headless")
    with tempfile.TemporaryDirectory() as out:
        arguments = ["-q", "-o", out, "-i", str(path), "detect-adaptive", "list-scenes"]
        subprocess.run([program, *arguments], check=True)


def read(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (item,) = collect.find([path], STORYBOARD)
        for _ in film.read(item, STORYBOARD, Path(folder)):
            pass


def run_stage(paths: list[Path], workers: int) -> None:
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder)) as store:
        items = collect.find(paths, STORYBOARD)
        stage = collect.stage(STORYBOARD, items, Path(folder), [], workers)
        local.run(stage, items, store, upstream="", progress=silent)


# ---- drawn films


def draw(folder: Path, seed: int, shots: int) -> Path:
    path = folder / f"film-{seed}.mp4"
    script = [replace(shot, seconds=SLOWER * shot.seconds) for shot in drawn.script(seed, shots=shots)]
    drawn.encode(path, grainy(drawn.frames(script, size=SIZE, fps=FPS), seed), size=SIZE, fps=FPS)
    return path


def grainy(frames: Iterator[NDArray[np.uint8]], seed: int) -> Iterator[NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, GRAIN, (SIZE[1] + SPARE, SIZE[0] + SPARE)).astype(np.float32)
    grain = np.rint(cv2.GaussianBlur(noise, (3, 3), 0)).astype(np.int16)
    for image in frames:
        across, down = rng.integers(0, SPARE, 2).tolist()
        part = grain[down : down + SIZE[1], across : across + SIZE[0]]
        yield np.asarray(cv2.add(image, cv2.merge([part] * 3), dtype=cv2.CV_8U), np.uint8)


if __name__ == "__main__":
    main()
