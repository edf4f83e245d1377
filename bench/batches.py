"""Seconds per grid of the local captioner, in batches and one by one, with the same grids and model in one run.

    python -m bench.batches [--grids 32] [--batch 8] [--model Qwen/Qwen3-VL-4B-Instruct]

By default the miniature model is timed. After one warm-up grid the two modes alternate for three rounds, and the
fastest round counts, since other load on the machine can only add time. Fails if an answer differs between the modes
or if batches are not faster.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

import miniature
from captioners import local
from miniature.draw import draw
from miniature.world import draw_character, draw_scene
from pipeline import task
from pipeline.captioning import instructions
from pipeline.captioning.protocol import Answer, Question

ROUNDS = 3
VLM = Path(miniature.__file__).parent / "vlm"


def ask_for(grids: int, seed: int = 7) -> list[Question]:
    """Questions about storyboards drawn at full size, with one character each."""
    storyboard, rng = task.load("storyboard"), random.Random(seed)
    layout, instruction = storyboard.grid_layout, instructions.write(storyboard)
    questions = []
    for _ in range(grids):
        who = draw_character(rng)
        scenes = [draw_scene(rng, who) for _ in storyboard.markers]
        size = (layout.panel_width, layout.panel_height)
        panels = tuple(Image.fromarray(draw(scene, size=size)) for scene in scenes)
        questions.append(Question(panels, ("",) * len(panels), storyboard.markers, instruction))
    return questions


def in_batches(captioner: local.Local, questions: Sequence[Question]) -> list[Answer]:
    return [answer for _, answer in captioner.ask(questions)]


def one_by_one(captioner: local.Local, questions: Sequence[Question]) -> list[Answer]:
    return [answer for question in questions for _, answer in captioner.ask([question])]


def timed(modes: Sequence[Callable[[], list[Answer]]]) -> list[tuple[float, list[Answer]]]:
    """Seconds of each mode's fastest round, and its answers; the modes alternate."""
    fastest: list[float] = [float("inf")] * len(modes)
    answers: list[list[Answer]] = [[]] * len(modes)
    for _ in range(ROUNDS):
        for number, mode in enumerate(modes):
            started = time.perf_counter()
            answers[number] = mode()
            fastest[number] = min(fastest[number], time.perf_counter() - started)
    return list(zip(fastest, answers, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--grids", type=int, default=32, help="storyboards of three panels (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=8, help="grids per call of the model (default: %(default)s)")
    parser.add_argument("--model", default=str(VLM), help="hub name or folder (default: the miniature)")
    options = parser.parse_args()
    captioner, questions = local.make({"model": options.model, "batch": options.batch}), ask_for(options.grids)
    one_by_one(captioner, questions[:1])
    (together, some), (alone, single) = timed(
        [lambda: in_batches(captioner, questions), lambda: one_by_one(captioner, questions)]
    )
    print(f"one by one        {alone / options.grids:.3f} s per grid")
    print(
        f"batches of {options.batch:<6} {together / options.grids:.3f} s per grid, {alone / together:.2f} times as fast"
    )
    different = sum(one != other for one, other in zip(some, single, strict=True))
    print(f"answers           {options.grids - different} of {options.grids} identical")
    if different or together >= alone:
        sys.exit("batches must be faster and give the same answers")


if __name__ == "__main__":
    main()
