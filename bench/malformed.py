"""How many malformed grids `training.evaluation.seams` notices, by kind, and how many whole ones it calls malformed.

    python -m bench.malformed GRIDS:ROWSxCOLS:WIDTHxHEIGHT ... [--rounds 1] [--seed 0]

GRIDS is a folder of whole grids, real or generated; such as that of a run with the panel's size in pixels:
`runs/storyboard/grids:3x1:1024x512`. Every grid is measured as it is, and as malformed by hand in each way from its own
panels and those of the others. A picture that serves for two panels is a panel at twice its height or width, cropped to
the middle. Brackets are 95 % Wilson intervals; a grid of a figure counts once per round.
"""

from __future__ import annotations

import argparse
import functools
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from pipeline import pixels
from pipeline.consistency.thresholds import Estimate, share
from pipeline.records import Layout
from training.evaluation import seams

Panels = list[Image.Image]


@dataclass(frozen=True)
class Grids:
    """Whole grids of one layout."""

    name: str
    layout: Layout
    panels: list[Panels]

    def drawn(self, rng: random.Random) -> Image.Image:
        """A panel of any grid."""
        return rng.choice(rng.choice(self.panels))

    @property
    def downwards(self) -> bool:
        """Whether panels follow each other downwards; what is malformed is malformed in that direction."""
        return self.layout.rows > 1


def read(words: str) -> Grids:
    folder, form, size = words.rsplit(":", 2)
    (rows, cols), (width, height) = (map(int, part.split("x")) for part in (form, size))
    layout = Layout(rows, cols, width, height)
    files = sorted(file for file in Path(folder).iterdir() if file.suffix in (".png", ".jpg"))
    whole = [pixels.open_image(file).convert("RGB").resize(layout.canvas, Image.Resampling.LANCZOS) for file in files]
    return Grids(folder, layout, [pixels.cut(one, layout) for one in whole])


def joined(panels: Panels, layout: Layout) -> Image.Image:
    canvas = Image.new("RGB", layout.canvas)
    for panel, box in zip(panels, layout.boxes, strict=True):
        canvas.paste(panel, box[:2])
    return canvas


def _next(panel: int, grids: Grids) -> int:
    """The panel after one, downwards or to the right."""
    return panel + grids.layout.cols if grids.downwards else panel + 1


def _stretched(panel: Image.Image, grids: Grids, sides: float) -> Image.Image:
    """The middle of a panel, so many panels high or wide. Enlarged where it must be, and never squeezed."""
    size = (grids.layout.panel_width, grids.layout.panel_height)
    long = tuple(round(side * sides) if downwards == grids.downwards else side
                 for side, downwards in zip(size, (False, True), strict=True))  # fmt: skip
    return pixels.fitted(panel, (long[0], long[1]), "crop", pixels.CENTRE)


def _pasted(canvas: Image.Image, part: Image.Image, panel: int, grids: Grids, shift: float = 0) -> Image.Image:
    left, top = grids.layout.boxes[panel][:2]
    if grids.downwards:
        top += round(shift * grids.layout.panel_height)
    else:
        left += round(shift * grids.layout.panel_width)
    canvas.paste(part, (left, top))
    return canvas


def _first_of_two(rng: random.Random, grids: Grids) -> int:
    layout = grids.layout
    return rng.choice([panel for panel in range(layout.size)
                       if (panel // layout.cols < layout.rows - 1 if grids.downwards
                           else panel % layout.cols < layout.cols - 1)])  # fmt: skip


# ---- ways to malform a grid


def spanned(panels: Panels, grids: Grids, rng: random.Random) -> Image.Image:
    """One picture in place of two panels."""
    first = _first_of_two(rng, grids)
    return _pasted(joined(panels, grids.layout), _stretched(rng.choice(panels), grids, 2), first, grids)


def divided(panels: Panels, grids: Grids, rng: random.Random) -> Image.Image:
    """One panel holds two pictures, one above or beside the other."""
    panel, canvas = rng.randrange(len(panels)), joined(panels, grids.layout)
    _pasted(canvas, _stretched(panels[panel], grids, 0.5), panel, grids)
    return _pasted(canvas, _stretched(grids.drawn(rng), grids, 0.5), panel, grids, 0.5)


def moved(by: float, panels: Panels, grids: Grids, rng: random.Random) -> Image.Image:
    """All seams are shifted: the first panel in the direction is larger, the last smaller."""
    canvas, layout, way = joined(panels, grids.layout), grids.layout, rng.choice((-by, by))
    last = layout.rows - 1 if grids.downwards else layout.cols - 1
    for panel, picture in enumerate(panels):
        place = panel // layout.cols if grids.downwards else panel % layout.cols
        sides = 1 + way * ((place == 0) - (place == last))
        _pasted(canvas, _stretched(picture, grids, sides), panel, grids, way if place else 0)
    return canvas


def blank(panels: Panels, grids: Grids, rng: random.Random) -> Image.Image:
    """One panel is of one colour, with a little noise."""
    panel = rng.randrange(len(panels))
    colour = np.asarray(panels[panel]).mean(axis=(0, 1))
    noise = np.random.default_rng(rng.randrange(1 << 30)).normal(0, 1.5, (*panels[panel].size[::-1], 3))
    flat = Image.fromarray((colour + noise).clip(0, 255).astype(np.uint8))
    return _pasted(joined(panels, grids.layout), flat, panel, grids)


def fewer(panels: Panels, grids: Grids, rng: random.Random) -> Image.Image:
    """One panel fewer than asked for in every row or column, all of them larger."""
    canvas, layout = joined(panels, grids.layout), grids.layout
    asked = layout.rows if grids.downwards else layout.cols
    lanes = layout.size // asked
    for lane in range(lanes):
        for place in range(asked - 1):
            first = lane if grids.downwards else lane * layout.cols
            larger = asked / (asked - 1)
            _pasted(canvas, _stretched(grids.drawn(rng), grids, larger), first, grids, place * larger)
    return canvas


WAYS: dict[str, Callable[[Panels, Grids, random.Random], Image.Image]] = {
    "one picture across two panels": spanned,
    "a panel divided in two": divided,
    "seams moved by 1/8 of a panel": functools.partial(moved, 1 / 8),
    "seams moved by 1/16 of a panel": functools.partial(moved, 1 / 16),
    "a blank panel": blank,
    "a panel fewer than asked": fewer,
}


def measure(grids: Grids, rounds: int, seed: int, blur: float) -> None:
    found: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for number, panels in enumerate(grids.panels):
        if faults := seams.faults(_blurred(joined(panels, grids.layout), blur), grids.layout):
            found["whole"] += 1
            wrong.update(" ".join(word for word in fault.split() if word.isalpha()) for fault in faults)
        for way, malform in WAYS.items():
            for turn in range(rounds):
                rng = random.Random(f"{seed} {way} {number} {turn}")
                found[way] += bool(seams.faults(_blurred(malform(panels, grids, rng), blur), grids.layout))
    count = len(grids.panels)
    print(f"\n{grids.name}: {count} grids of {grids.layout.rows} x {grids.layout.cols}, blur {blur:g}")
    print(f"{'whole, called malformed':<32} {_share(found['whole'], count)}  {dict(wrong) or ''}")
    for way in WAYS:
        print(f"{way:<32} {_share(found[way], count * rounds)}", flush=True)


def _share(hits: int, of: int) -> str:
    return share(Estimate(hits, of).facts())


def _blurred(grid: Image.Image, radius: float) -> Image.Image:
    return grid.filter(ImageFilter.GaussianBlur(radius)) if radius else grid


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("grids", nargs="+", type=read, help="FOLDER:ROWSxCOLS:WIDTHxHEIGHT")
    parser.add_argument("--rounds", type=int, default=1, help="per kind and grid (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    parser.add_argument("--blur", type=float, default=0, help="of the whole grid, in pixels, as a decoder might")
    options = parser.parse_args(words)
    for grids in options.grids:
        measure(grids, options.rounds, options.seed, options.blur)


if __name__ == "__main__":
    main()
