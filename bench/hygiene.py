"""What of a film's frames is no picture: bars, blank frames and burnt-in text, measured against drawn truth.

    python -m bench.hygiene [--shots 20] [--rapidocr] [--seed 970000]

The films are those of the miniature world, every third shot dark, sent through H.264 (crf 23). Bars: precision and
recall of crop edges; an edge is right within 1 % of the side or 2 pixels. Blank frames: drawn ones against scenes by
day, at night and in fog. Text, before a moving camera: of the frames with a subtitle (one or two lines, for the whole
shot or part of it) the share in which it was found, 60 % of every line at least; of the shots without text, or with a
sign that moves with the scene, the share in which something was found. Marks: the same for shots with a visible logo,
opaque or not, before a camera that stands or moves, and for all shots. Older code had none of this, so there is no
column for it.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections.abc import Callable, Iterator
from itertools import product

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import cv2
import numpy as np

from miniature import film
from miniature.draw import draw
from miniature.making import postproduction as post
from miniature.making.postproduction import Bars, Box, Frame
from pipeline.films import blanks, lettering
from pipeline.films.bars import BarFinder
from pipeline.films.lettering import Overlay
from pipeline.films.marks import MarkFinder

SIZE = WIDTH, HEIGHT = 640, 360
SMALL = (512, 288)
MOMENTS, DARK = 3, 3
"""Frames of a shot in which bars and marks are looked for; every so many shots one is dark."""
VISIBLE = 12
"""Levels by which a mark differs from the picture at least, to be looked for."""
ENOUGH = 0.6
"""Share of a rectangle that must be found."""
SUBTITLES = (["So what?"], ["They will be here at dawn."], ["I never said that it was mine,", "did I?"])
FILMS: dict[str, Callable[[int], Bars]] = {
    "none": lambda _: Bars(),
    "cinema": lambda _: Bars(0, 46, 0, 46),
    "television": lambda _: Bars(80, 0, 80, 0),
    "window": lambda _: Bars(80, 46, 80, 46),
    "varying": lambda shot: Bars() if shot % 8 in (3, 4, 5) else Bars(0, 46, 0, 46),
    "grey, noisy": lambda _: Bars(0, 46, 0, 46, colour=(24, 22, 22), noise=5),
    "white": lambda _: Bars(80, 0, 80, 0, colour=post.WHITE),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shots", type=int, default=20, help="shots per film")
    parser.add_argument("--rapidocr", action="store_true", help="measure the trained detector too")
    parser.add_argument("--seed", type=int, default=970_000)
    given = parser.parse_args()
    print("old: nothing\n")
    show_bars(given.seed, given.shots)
    show_blanks(given.seed, given.shots)
    for method in ("plain", "rapidocr") if given.rapidocr else ("plain",):
        show_text(given.seed, given.shots, method)
    show_marks(given.seed, given.shots)


def scenes(seed: int, shots: int) -> Iterator[list[Frame]]:
    for number, shot in enumerate(film.script(seed, shots=shots)):
        images = [draw(shot.scene, time=moment / 3, size=SIZE) for moment in range(MOMENTS)]
        light = (0.3, 0.35) if number % 2 else None
        yield [post.darkened(image, 0.07, light) for image in images] if number % DARK == DARK - 1 else images


# ---- bars


def show_bars(seed: int, shots: int) -> None:
    print(f"{'bars':14}precision  recall      F1  ms/frame")
    totals = np.zeros(3)
    for name, bars in FILMS.items():
        rng, spent, finder = np.random.default_rng(seed), 0.0, BarFinder()
        shown = [[post.barred(image, bars(n), rng) for image in images] for n, images in enumerate(scenes(seed, shots))]
        for number, image in small_frames(shown):
            start = time.process_time()
            finder.add(number, image)
            spent += time.process_time() - start
        counts = sum(count_edges(finder.edges(n).box(WIDTH, HEIGHT), bars(n)) for n in range(shots))
        totals += counts
        print(f"{name:14}{ratios(counts)}  {1000 * spent / shots / MOMENTS:8.1f}")
    print(f"{'all':14}{ratios(totals)}\n")


def small_frames(shown: list[list[Frame]]) -> Iterator[tuple[int, Frame]]:
    """The shots' frames after compression, BGR and small, with the numbers of their shots."""
    coded = post.encoded(image for images in shown for image in images)
    for place, image in enumerate(coded):
        yield place // MOMENTS, np.asarray(cv2.resize(image[..., ::-1], SMALL, interpolation=cv2.INTER_AREA), np.uint8)


def count_edges(box: Box, bars: Bars) -> np.ndarray:
    """Edges that were found rightly, that were found, and that there are."""
    found = (box[0], box[1], WIDTH - box[2], HEIGHT - box[3])
    true = (bars.left, bars.top, bars.right, bars.bottom)
    near = [abs(a - b) <= max(2, 0.01 * side) for a, b, side in zip(found, true, SIZE * 2, strict=True)]
    right = sum(bool(a and b and close) for a, b, close in zip(found, true, near, strict=True))
    return np.asarray([right, sum(map(bool, found)), sum(map(bool, true))], float)


def ratios(counts: np.ndarray) -> str:
    right, found, true = counts
    precision, recall = right / found if found else 1.0, right / true if true else 1.0
    f1 = 2 * right / (found + true) if found + true else 1.0
    return f"{precision:9.3f}  {recall:6.3f}  {f1:6.3f}"


# ---- blank frames


def show_blanks(seed: int, shots: int) -> None:
    rng = np.random.default_rng(seed)
    ramp = np.zeros((HEIGHT, WIDTH, 3)) + np.linspace(20, 220, WIDTH)[None, :, None]
    grounds = [np.full((HEIGHT, WIDTH, 3), level, float) for level in (0, 8, 24, 90, 160, 240, 255)] + [ramp]
    empty = [np.clip(g + rng.normal(0, s, g.shape), 0, 255).astype(np.uint8) for g in grounds for s in (0.01, 2, 6)]
    views = [images[0] for images in scenes(seed, shots)]
    night = [post.darkened(image, 0.06) for image in views[::DARK]]
    full = views + night + [(0.08 * image + 200).astype(np.uint8) for image in views[1::DARK]]
    found = [bool(blanks.blank(image[..., ::-1])) for image in post.encoded(empty + full)]
    counts = np.asarray([sum(found[: len(empty)]), sum(found), len(empty)], float)
    print(f"{'blank frames':14}{ratios(counts)}  ({len(empty)} blank, {len(full)} not)\n")


# ---- text


def show_text(seed: int, shots: int, method: lettering.Method) -> None:
    hits, frames, alarms, clear, spent = 0, 0, 0, 0, 0.0
    for number in range(shots):
        for kind in ("whole", "part", "none", "sign"):
            images, boxes = text_shot(seed + number, kind)
            coded = [np.ascontiguousarray(image[..., ::-1]) for image in post.encoded(images)]
            start = time.process_time()
            found = lettering.find(coded, method)
            spent += time.process_time() - start
            frames += sum(map(bool, boxes))
            hits += sum(
                all(covered(found.in_frame(place), box) >= 0.6 for box in boxes[place])  # noqa: PLR2004
                for place in range(len(images))
                if boxes[place]
            )
            if kind in ("none", "sign"):
                clear, alarms = clear + 1, alarms + bool(found.overlays or found.card)
    each = 1000 * spent / (4 * shots)
    print(
        f"text, {method}: found {hits / frames:.3f} of {frames}, false alarms {alarms / clear:.3f} of {clear}, ", end=""
    )
    print(f"{each:.0f} ms/shot\n")


def text_shot(seed: int, kind: str) -> tuple[list[Frame], list[list[Box]]]:
    """Five frames of a shot with a moving camera, and the rectangles of the lines of their subtitles."""
    rng = random.Random(f"text {seed} {kind}")
    (shot,) = film.script(seed, shots=1)
    speed, lines = rng.choice((-1, 1)) * rng.uniform(10, 60), rng.choice(SUBTITLES)
    size, colour = rng.uniform(0.045, 0.065), rng.choice((post.WHITE, post.YELLOW))
    images, boxes = [], []
    for moment in range(5):
        image = draw(shot.scene, time=0.3 * moment, size=SIZE)
        if kind == "sign":
            image = post.sign(image, "BAKERY 24", (0.35, 0.3))
        image, found = post.panned(image, (speed * 0.3 * moment, 0)), []
        if kind == "whole" or (kind == "part" and moment > 1):
            for place, line in enumerate(reversed(lines)):
                image, box = post.lettered(image, [line], (0.5, 0.92 - 1.35 * size * place), size=size, colour=colour)
                found.append(box)
        images.append(image)
        boxes.append(found)
    return images, boxes


def covered(overlays: tuple[Overlay, ...], box: Box) -> float:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    for one in overlays:
        mask[int(one.top * HEIGHT) : round(one.bottom * HEIGHT), int(one.left * WIDTH) : round(one.right * WIDTH)] = 1
    left, top, right, bottom = box
    return float(mask[top:bottom, left:right].mean())


# ---- marks


def show_marks(seed: int, shots: int) -> None:
    hits, marked, alarms, films = 0, 0, 0, [*product((1.0, 0.5, 0.3, 0.0), (0.0, 20.0))]
    for film_number, (opacity, speed) in enumerate(films):
        place = post.PLACES[film_number % len(post.PLACES)]
        images = [
            [post.panned(image, (speed * moment, 0)) for moment, image in enumerate(each)]
            for each in scenes(seed + film_number, shots)
        ]
        laid = [[post.with_logo(image, place, size=0.07, opacity=opacity) for image in each] for each in images]
        finder = MarkFinder()
        for number, image in small_frames([[image for image, _ in each] for each in laid]):
            finder.add(number, image)
        for number in range(shots):
            found, (marked_image, box) = finder.overlays(number), laid[number][0]
            visible = is_visible(images[number][0], marked_image)
            right = tuple(one for one in found if opacity and covered((one,), box) > 0)
            marked += visible
            hits += visible and covered(right, box) >= ENOUGH
            alarms += len(right) < len(found)
    total = len(films) * shots
    print(f"marks: found {hits / marked:.3f} of {marked} shots, false alarms {alarms / total:.3f} of {total}")


def is_visible(image: Frame, marked: Frame) -> bool:
    """Whether a mark changes the pixels that it lies on by VISIBLE levels on average; a grey one on snow may not."""
    change = np.abs(image.astype(int) - marked).max(axis=2)
    return bool(change.any() and change[change > 0].mean() >= VISIBLE)


if __name__ == "__main__":
    main()
