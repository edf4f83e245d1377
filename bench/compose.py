"""What a grid costs from its three pictures to the data set: milliseconds by part, and bytes on the disk.

    python -m bench.compose [--grids 16]

Three frames of 1920 x 1080 pixels with film grain, saved as JPEG, become a storyboard of 1024 x 1536. Parts that were
changed are measured in both ways in the same run, alternating, and the fastest of five rounds counts: the PNG as
Pillow writes it at level 1 and as `pipeline.pixels.png` does; the export as it was (checksums, decode, copy, hash of
the copy) and as it is (one read, decode, link). The floor of the time is decoding and fitting; that of the disk is
Pillow's highest level, which takes seconds per grid. Fails if a pixel differs, if the grids take more than two thirds
of the time, or if grids and data set take more than HALF of the disk.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from miniature.draw import draw
from miniature.world import draw_character, draw_scene
from pipeline import files, pixels, task
from pipeline.pixels import png
from pipeline.stages.compose import KEEP

ROUNDS = 5
FRAME = (1920, 1080)
GOAL, HALF = 2 / 3, 0.5
"""Of the time and of the disk before."""
SMALLEST = 2
"""Grids that are written at the highest level."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grids", type=int, default=16)
    count = parser.parse_args().grids
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        layout = task.load("storyboard").grid_layout
        size = (layout.panel_width, layout.panel_height)
        frames = [
            [frame(folder / f"{grid}-{panel}.jpg", 3 * grid + panel) for panel in range(3)] for grid in range(count)
        ]
        opened: list[list[Image.Image]] = []
        grids: list[Image.Image] = []

        def decode() -> None:
            opened[:] = [[pixels.open_image(file, least_side=KEEP * max(size)) for file in each] for each in frames]

        def fit() -> None:
            grids.clear()
            for each in opened:
                canvas = Image.new("RGB", layout.canvas)
                for image, box in zip(each, layout.boxes, strict=True):
                    canvas.paste(pixels.fitted(image, size, "crop"), box[:2])
                grids.append(canvas)

        reading, fitting = fastest([decode, fit], count)
        before, now = Run(folder / "before", grids), Run(folder / "now", grids)
        pillow, ours = fastest([lambda: before.write(as_pillow), lambda: now.write(png.encode)], count)
        copied, shared = fastest([before.export_copies, now.export_links], count)
        for grid, file in zip(grids, now.exported, strict=True):
            if pixels.open_image(file).tobytes() != grid.tobytes():
                sys.exit(f"{file} has other pixels than were drawn")
        rows = [("decode", reading, reading), ("fit", fitting, fitting), ("PNG", pillow, ours)]
        whole = tuple(sum(row[side] for row in rows) for side in (1, 2))
        for name, was, is_ in [*rows, ("composed", *whole), ("exported", copied, shared)]:
            print(f"{name:<10} {was:6.1f} ms {is_:6.1f} ms  {is_ / was:.2f}")
        print(f"floor (decode and fit) {reading + fitting:.1f} ms: {whole[1] / (reading + fitting):.2f} times that")
        disk = before.disk() / count / 1e6, now.disk() / count / 1e6
        least = [len(as_pillow(grid, 9)) / (2 * len(as_pillow(grid))) for grid in grids[:SMALLEST]]
        print(f"{'disk':<10} {disk[0]:6.2f} MB {disk[1]:6.2f} MB  {disk[1] / disk[0]:.2f}", end=" ")
        print(f"(at the highest level {sum(least) / len(least):.2f})")
    if whole[1] > GOAL * whole[0] or disk[1] > HALF * disk[0]:
        sys.exit(f"a grid must take at most {GOAL:.2f} of the time and {HALF:.2f} of the disk")


def frame(file: Path, seed: int) -> Path:
    """A drawn scene with film grain."""

    rng, grain = random.Random(seed), np.random.default_rng(seed)
    scene = draw(draw_scene(rng, draw_character(rng)), size=FRAME).astype(np.float32)
    scene += cv2.GaussianBlur(grain.normal(0, 18, scene.shape[:2]).astype(np.float32), (0, 0), 0.8)[..., None]
    scene += grain.normal(0, 2, scene.shape)
    Image.fromarray(np.clip(scene, 0, 255).astype(np.uint8)).save(file, quality=92)
    return file


def fastest(sides: Sequence[Callable[[], object]], count: int) -> list[float]:
    """Milliseconds per grid of each side's fastest round; the sides take turns."""
    best = [float("inf")] * len(sides)
    for _ in range(ROUNDS):
        for number, side in enumerate(sides):
            started = time.perf_counter()
            side()
            best[number] = min(best[number], time.perf_counter() - started)
    return [1000 * seconds / count for seconds in best]


def as_pillow(image: Image.Image, level: int = 1) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=level)
    return buffer.getvalue()


class Run:
    """Grids and their data set in a folder."""

    def __init__(self, folder: Path, grids: Sequence[Image.Image]) -> None:
        self.folder, self.grids = folder, grids
        self.files = [folder / "grids" / f"{number}.png" for number in range(len(grids))]
        self.exported = [folder / "dataset" / file.name for file in self.files]
        (folder / "grids").mkdir(parents=True)

    def write(self, encode: Callable[[Image.Image], bytes]) -> None:
        for image, file in zip(self.grids, self.files, strict=True):
            files.write(file, encode(image))

    def export_copies(self) -> None:
        self._begin()
        for file, copy in zip(self.files, self.exported, strict=True):
            with Image.open(file) as image:
                image.verify()
            pixels.open_image(file)
            shutil.copyfile(file, copy)
            files.digest(copy)
        files.sync_folder(self.folder / "dataset")

    def export_links(self) -> None:
        self._begin()
        for image, file, copy in zip(self.grids, self.files, self.exported, strict=True):
            found = png.check(file, image.size)
            if found is None or found.pixels != hashlib.sha256(image.tobytes()).hexdigest():
                sys.exit(f"{file} is not what was drawn")
            files.share(file, copy)
        files.sync_folder(self.folder / "dataset")

    def _begin(self) -> None:
        shutil.rmtree(self.folder / "dataset", ignore_errors=True)
        (self.folder / "dataset").mkdir()

    def disk(self) -> int:
        """Bytes that all files take together, those with two names once."""
        found = {(stat.st_dev, stat.st_ino): stat.st_size for stat in map(os.stat, [*self.files, *self.exported])}
        return sum(found.values())


if __name__ == "__main__":
    main()
