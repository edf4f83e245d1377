"""CPU seconds per picture for collect and inspect, compared with a plain implementation.

    python -m bench.ingest

Draws 60 JPEGs of 12 megapixels and 120 of 2 megapixels (soft shapes with grain, seeded). The plain implementation
decodes a picture at full size, then takes one pass of Pillow each for hash, sharpness, exposure and colours; it is
timed on every sixth picture. Then what measuring a picture takes beside decoding it at the scale that is needed, the
fastest of some rounds each: whole, with the crop's place, and two floors: decoding with all that the toolkit checks,
and making the picture as small as its row says; and that with the calls of Pillow, OpenCV and hashlib that no measure
can do without, each once, and nothing of the toolkit's own; goals 1.25 and 1.6. Faces are not looked for. Fails if a
picture is lost, if the speed-up is below 4 for 12 megapixels or below 1.5 for 2, or if measuring takes more than MOST
times the decoding.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

import cv2
import imagehash
import numpy as np
from PIL import Image, ImageFilter, ImageOps, ImageStat

from pipeline import pixels, task
from pipeline.duplicates import perceptual
from pipeline.engines import local
from pipeline.films import blanks
from pipeline.pixels import faces
from pipeline.records import Position, Record
from pipeline.stages import collect, inspect
from pipeline.store import Store

SETS = {"12 MP": ((4000, 3000), 60), "2 MP": ((1632, 1224), 120)}
LEAST = {"12 MP": 4.0, "2 MP": 1.5}
MOST = {"12 MP": 1.6, "2 MP": 3.3}
ROUNDS = 5
SHARE = 6
"""Copies of every drawn picture, which differ in a byte after its end; drawing them all would take too long."""
THREADS = 2


def main() -> None:
    with tempfile.TemporaryDirectory() as home, mock.patch.object(faces, "find", return_value=[]):
        for name, (size, count) in SETS.items():
            paths = draw(Path(home) / name, size, count)
            ours, plain = seconds_ours(paths, Path(home) / f"{name} run"), seconds_plain(paths[::SHARE])
            ratio = plain / ours
            print(f"{name}: collect + inspect {ours:.4f} s per picture, plain {plain:.4f} s, {ratio:.1f} times as fast")
            if ratio < LEAST[name]:
                sys.exit(f"{name}: {ratio:.1f} times as fast, but it must be {LEAST[name]}")
            decoding, *others, whole = beside_decoding(paths[::SHARE])
            told = zip(
                ("opened and made small", "with the libraries' calls", "measured"), (*others, whole), strict=True
            )
            beside = ", ".join(f"{what} {1000 * took:.1f} ms ({took / decoding:.2f} times)" for what, took in told)
            print(f"  scaled decoding {1000 * decoding:.1f} ms, {beside}")
            if whole > MOST[name] * decoding:
                sys.exit(f"{name}: measured in {whole / decoding:.2f} times the decoding, at most {MOST[name]} allowed")


def draw(folder: Path, size: tuple[int, int], count: int) -> list[Path]:
    folder.mkdir()
    rng = np.random.default_rng(12)
    grain = rng.normal(128, 5, (size[1], size[0], 3)).astype(np.uint8)
    paths = [folder / f"{number:04d}.jpg" for number in range(count)]
    picture = b""
    for number, path in enumerate(paths):
        if number % SHARE == 0:
            soft = cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), size, interpolation=cv2.INTER_CUBIC)
            grainy = cv2.addWeighted(soft, 0.9, grain, 1, -115)
            picture = cv2.imencode(".jpg", grainy, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
        path.write_bytes(picture + bytes([number % SHARE]))
    return paths


def seconds_ours(paths: Sequence[Path], run: Path) -> float:
    """Like `iclora inspect`: finds, hashes and measures pictures and writes all rows to the run's tables."""
    couple = task.load("couple-profile")
    start = time.process_time()
    files = collect.find([paths[0].parent])
    with Store(run) as store:
        stage = collect.stage(couple, files, run, [])
        local.run(stage, files, store, upstream="", progress=quiet)
        records = store.items(Record, "collected")
        mark = local.run(inspect.stage(couple, run, THREADS), records, store, upstream="", progress=quiet)
    if mark.kept != len(paths):
        sys.exit(f"{mark.kept} of {len(paths)} pictures were kept")
    return (time.process_time() - start) / len(paths)


def beside_decoding(paths: Sequence[Path]) -> list[float]:
    """CPU seconds per picture for scaled decoding, for opening and making it small, for that and the libraries' calls,
    and for all of its measures."""
    layout, side = task.load("couple-profile").layout, inspect.MEASURE_SIDE

    def decode(path: Path) -> None:
        with Image.open(path) as image:
            image.draft("RGB", (side, side))
            image.load()

    def make_small(path: Path) -> Image.Image:
        image = pixels.open_sized(path, least_side=side).image
        image.thumbnail((side, side), Image.Resampling.BOX)
        return image

    def call_libraries(path: Path) -> None:
        called(make_small(path))

    def measure(path: Path) -> None:
        inspect.measure(Record(path.name, str(path), str(path), Position()), path.parent, layout)

    works: tuple[Callable[[Path], object], ...] = (decode, make_small, call_libraries, measure)
    fastest = [float("inf")] * len(works)
    for path in [*paths] * ROUNDS:
        for number, work in enumerate(works):
            start = time.thread_time()
            work(path)
            fastest[number] = min(fastest[number], time.thread_time() - start)
    return fastest


def called(small: Image.Image) -> None:
    """What the measures of a picture ask of Pillow, OpenCV and hashlib, each time in the form that it is needed in."""
    small.convert("L").resize((perceptual.SIDE, perceptual.SIDE), Image.Resampling.LANCZOS)  # hashes
    colours = np.asarray(small)
    hashlib.sha256(colours).hexdigest()
    cv2.calcHist(
        [cv2.cvtColor(colours, cv2.COLOR_RGB2HSV)], [0, 1, 2], None, list(inspect.BINS), [0, 180, 0, 256, 0, 256]
    )
    cv2.norm(cv2.Laplacian(cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY), cv2.CV_16S), cv2.NORM_L2SQR)  # sharpness
    for size in ((blanks.CELLS, blanks.CELLS * colours.shape[0] // colours.shape[1]), (256, blanks.ROWS)):
        cv2.resize(colours, size, interpolation=cv2.INTER_AREA)  # whether it is blank
    small.thumbnail((faces.SIDE, faces.SIDE), Image.Resampling.BOX)  # the crop's place


def quiet(stage: str, done: int, total: int) -> None:
    """Shows no progress."""


def seconds_plain(paths: Sequence[Path]) -> float:
    start = time.process_time()
    for path in paths:
        measure_plainly(path)
    return (time.process_time() - start) / len(paths)


def measure_plainly(path: Path) -> tuple[object, ...]:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    grey = upright.convert("L")
    edges = grey.filter(ImageFilter.Kernel((3, 3), (0, 1, 0, 1, -4, 1, 0, 1, 0), scale=1, offset=128))
    return (
        digest,
        upright.size,
        str(imagehash.phash(upright)),
        ImageStat.Stat(edges).var[0],
        ImageStat.Stat(grey).mean[0],
        upright.convert("HSV").histogram(),
    )


if __name__ == "__main__":
    main()
