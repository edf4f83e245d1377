"""The paper's claim in miniature: a LoRA trained on a few grids makes the base keep a character across panels.

    python -m bench.claim [--prompts 64] [--seeds 2] [--sizes 20 40 80] [--steps 400] [--out runs/claim]

The base model never saw the characters, and those of the training grids differ from those of the prompts. A caption
describes its character once, in the summary, and refers to it by name in the panels. A reader trained on drawn frames
recognises what every panel shows. Reported with 95 % Wilson intervals:

- same: one kind and one colour in all three panels
- as described: and they are those in the summary
- place, action: how many of the panels show what their own text describes (prompt following, which should not suffer)

Then the first panel is given: do the other two keep its kind and colour? A LoRA trained for this (conditional) is
compared with plain inpainting by the base and by the joint LoRA. First the summary describes the character, as users
would do; then it does not, so that only the picture shows it. For the latter, a LoRA is trained on such captions, and
for longer, since attending to another panel is new to the base.

Results are kept in the folder, so a second call resumes. The figure is `claim.png` in it; `pages.png` shows some pages
drawn by the base and by the LoRA of the fewest grids.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bench.claim_figures import ALONE, DESCRIBED, DRAWN, WAYS, draw_counts, draw_pages
from miniature.flux_data import PANEL, PANELS, draw_large, draw_panel, is_held_out, tell_story
from miniature.reader import Reader
from miniature.world import COLOURS, KINDS, WORN, Character, Scene
from pipeline import task as tasks
from pipeline.cache import Cache
from pipeline.consistency.thresholds import Estimate, share
from pipeline.pixels import cut
from pipeline.text.names import POOL
from training import config, dataset, generate, loop, sampling
from training.generator import Adapter, GenerationRequest, Generator
from training.job import Job, find_backend
from training.processes import Processes

TASK = "storyboard"
SEED = 11
LONGER = 6
"""Factor on the steps for a LoRA that must learn to attend to the given panel."""
TEST = 0.5
"""Share of the characters unseen by the base that is reserved for the prompts."""
GIVEN = {"kind": "panels", "colour": "panels", "both": "panels", "place": "panels", "action": "panels"}
"""The counts for pages with a given panel, and the totals that they are shares of."""
SHOWN = 6
"""Number of pages in `pages.png`, each with a different character."""


@dataclass(frozen=True)
class Story:
    """A page: three scenes of one character and its name."""

    scenes: tuple[Scene, ...]
    name: str

    def caption(self, *, described: bool) -> str:
        """The joint caption; the summary describes the character's looks only if `described`."""
        return tell_story(self.scenes, self.name, self.scenes[0].character.words if described else None)

    def panels(self) -> list[Image.Image]:
        return [Image.fromarray(draw_panel(scene, filmed=True)) for scene in self.scenes]

    def grid(self) -> Image.Image:
        grid = Image.new("RGB", (PANEL[0], PANELS * PANEL[1]))
        for place, panel in enumerate(self.panels()):
            grid.paste(panel, (0, place * PANEL[1]))
        return grid


def characters(*, test: bool) -> list[Character]:
    """Characters that the base never saw, for the prompts (`test`) or for training."""
    unseen = [Character(k, c, w) for k in KINDS for c in COLOURS for w in WORN if is_held_out(Character(k, c, w))]
    random.Random(SEED).shuffle(unseen)
    middle = round(len(unseen) * TEST)
    return unseen[:middle] if test else unseen[middle:]


def stories(count: int, *, test: bool) -> list[Story]:
    """Pages that cycle through the characters; a shorter list is a prefix of a longer one."""
    cast, rng, made = characters(test=test), random.Random(SEED + test), []
    for number in range(count):
        who = cast[number % len(cast)]
        scenes = tuple(replace(draw_large(rng), character=who) for _ in range(PANELS))
        made.append(Story(scenes, rng.choice(POOL)))
    return made


# ---- a LoRA


def write_data(folder: Path, pages: Sequence[Story], *, described: bool) -> None:
    home = folder / "train"
    home.mkdir(parents=True, exist_ok=True)
    for number, page in enumerate(pages):
        page.grid().save(home / f"{number:04d}.png")
        (home / f"{number:04d}.txt").write_text(page.caption(described=described), encoding="utf-8")


def train(out: Path, size: int, steps: int, *, conditional: bool = False, described: bool = True) -> Path:
    """Trains a LoRA on this many grids; checkpoints of earlier steps are beside its file."""
    name = f"{'conditional' if conditional else 'joint'}-{size}{'' if described else '-wordless'}"
    write_data(out / name / "data", stories(size, test=False), described=described)
    overrides = [
        f"train.steps={steps}",
        f"train.save_every={steps // 4}",
        f"train.conditional={1 if conditional else 0}",
        "train.samples=0",
        "train.smallest_panel=64",
    ]
    storyboard = tasks.load(TASK, overrides)
    wanted = config.load(storyboard, miniature=True)
    job = Job(
        storyboard,
        wanted,
        dataset.read(out / name / "data", storyboard),
        find_backend(storyboard.base, wanted.model, None),
        out / name / "training",
        Cache(out / "cache"),
    )
    outcome = loop.train(job, Processes(), lambda *_: None)
    if outcome.took:
        print(f"trained {name}: {outcome.took} steps in {outcome.seconds:.0f} s", flush=True)
    return outcome.file


# ---- drawing and recognising pages


def seen(grids: Sequence[Image.Image], reader: Reader) -> list[list[dict[str, str]]]:
    """What the reader recognises in every panel of every grid."""
    layout = config.scaled(tasks.load(TASK).grid_layout, 0.125, 64, 16)
    panels = [panel for grid in grids for panel in cut(grid, layout)]
    pixels = torch.from_numpy(np.stack([np.array(panel) for panel in panels])).permute(0, 3, 1, 2).float() / 255
    found = [one for start in range(0, len(pixels), 64) for one in reader.read(pixels[start : start + 64])]
    return [found[start : start + layout.size] for start in range(0, len(found), layout.size)]


def make_generator(file: Path | None, given_as: sampling.GivenAs = "clean") -> Generator:
    """The mini FLUX with or without a LoRA, at an eighth of a storyboard's size."""
    storyboard = tasks.load(TASK)
    wanted = config.load(storyboard, miniature=True)
    return Generator(
        find_backend(storyboard.base, wanted.model, None),
        (Adapter(file),) if file else (),
        config.scaled(storyboard.grid_layout, 0.125, 64, 16),
        sampling.SamplingSettings(wanted.sample_steps, wanted.guidance),
        torch.device("cpu"),
        given_as,
    )


def measure(
    file: Path | None,
    pages: Sequence[Story],
    seeds: int,
    given_as: sampling.GivenAs | None = None,
    *,
    described: bool = True,
) -> dict[str, int]:
    """Counts over all pages and seeds, without given panels.

    Args:
        given_as: how the first panel is given to the model; None if it is not given.
        described: whether the summary describes the character.
    """
    todo = [(page, seed) for seed in range(seeds) for page in pages]
    requests = [
        GenerationRequest(page.caption(described=described), seed, {0: page.panels()[0]} if given_as else {})
        for page, seed in todo
    ]
    grids = generate.draw(make_generator(file, given_as or "clean"), requests)
    return count([page for page, _ in todo], grids, first=1 if given_as else 0)


def count(pages: Sequence[Story], grids: Sequence[Image.Image], first: int = 0) -> dict[str, int]:
    """Counts what the grids drawn for these pages show.

    Args:
        first: panel from which they are counted; those before it were given.
    """
    counts = dict.fromkeys(("pages", "panels", "same", "as described", "kind", "colour", "both", "place", "action"), 0)
    for page, panels in zip(pages, seen(grids, Reader.load()), strict=True):
        shown, scenes = panels[first:], page.scenes[first:]
        who = page.scenes[0].character
        kinds = [panel["kind"] == who.kind for panel in shown]
        colours = [panel["colour"] == who.colour for panel in shown]
        both = [kind and colour for kind, colour in zip(kinds, colours, strict=True)]
        counts["pages"] += 1
        counts["panels"] += len(shown)
        counts["same"] += len({(panel["kind"], panel["colour"]) for panel in shown}) == 1
        counts["as described"] += all(both)
        counts["kind"] += sum(kinds)
        counts["colour"] += sum(colours)
        counts["both"] += sum(both)
        counts["place"] += sum(panel["place"] == scene.place for panel, scene in zip(shown, scenes, strict=True))
        counts["action"] += sum(panel["action"] == scene.action for panel, scene in zip(shown, scenes, strict=True))
    return counts


def show(pages: Sequence[Story], lora: Path, name: str, path: Path) -> None:
    """Draws the same pages with the base and with a LoRA."""
    requests = [GenerationRequest(page.caption(described=True)) for page in pages]
    drawn = {who: generate.draw(make_generator(file), requests) for who, file in (("base", None), (name, lora))}
    draw_pages([request.prompt for request in requests], drawn, path)


class Results:
    """Counts by condition, stored on disk."""

    def __init__(self, folder: Path, name: str = "claim.json") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / name
        self.known: dict[str, dict[str, int]] = json.loads(self.file.read_text()) if self.file.exists() else {}

    def get(self, name: str, shown: Mapping[str, str], count: Callable[[], dict[str, int]]) -> None:
        """Counts unless the result is stored, and prints the `shown` counts as shares of their totals."""
        if name not in self.known:
            self.known[name] = count()
            self.file.write_text(json.dumps(self.known, indent=1))
        counts = self.known[name]
        parts = [f"{key} {share(Estimate(counts[key], counts[of]).facts())}" for key, of in shown.items()]
        print(f"{name:<40}{'  '.join(parts)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--prompts", type=int, default=64, help="pages to draw (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=2, help="images per page (default: %(default)s)")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[20, 40, 80], help="training set sizes in grids (default: 20 40 80)"
    )
    parser.add_argument("--steps", type=int, default=400, help="training steps per LoRA (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/claim"), help="folder for results (default: %(default)s)"
    )
    options = parser.parse_args()
    out, steps, size = options.out, options.steps, options.sizes[-1]
    pages, results = stories(options.prompts, test=True), Results(out)
    sized = {number: train(out, number, steps) for number in options.sizes}
    joint = sized[size]
    files = {"base": None} | {f"{number} grids, {steps} steps": file for number, file in sized.items()}
    for step in range(steps // 4, steps, steps // 4):
        files[f"{size} grids, {step} steps"] = joint.parent / "steps" / f"{TASK}-{step:06d}.safetensors"
    for name, file in files.items():
        results.get(name, {key: of for key, (of, _) in DRAWN.items()}, partial(measure, file, pages, options.seeds))
    for described, words in ((True, DESCRIBED), (False, ALONE)):
        trained = train(out, size, steps if described else LONGER * steps, conditional=True, described=described)
        ways: Sequence[tuple[Path | None, sampling.GivenAs]] = ((None, "noised"), (joint, "noised"), (trained, "clean"))
        for way, (file, given_as) in zip(WAYS, ways, strict=True):
            results.get(
                f"{words}: {way}", GIVEN, partial(measure, file, pages, options.seeds, given_as, described=described)
            )
    draw_counts(results.known, options.sizes, steps, out / "claim.png")
    show(pages[:SHOWN], sized[options.sizes[0]], f"LoRA of {options.sizes[0]} grids", out / "pages.png")
    base, _, conditional = (f"{DESCRIBED}: {way}" for way in WAYS)
    for better, worse, key in ((f"{size} grids, {steps} steps", "base", "same"), (conditional, base, "both")):
        if results.known[better][key] <= results.known[worse][key]:
            sys.exit(f"'{better}' does not keep the character better than '{worse}'")


if __name__ == "__main__":
    main()
