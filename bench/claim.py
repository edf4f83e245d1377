"""The paper's claim in miniature: a LoRA of a few grids makes the base keep a character through all panels.

    python -m bench.claim [--prompts 64] [--seeds 2] [--sizes 20 40 80] [--steps 400] [--out runs/claim]

Characters are such as the base never saw; those of the LoRA's grids and those of the prompts differ too. A caption
describes its character once, in the summary, and calls it by its name in the panels. A reader trained on drawn frames
says what every panel shows. Told with 95 % intervals (Wilson):

- same: one kind and one colour in all three panels
- as told: and these are the ones that the summary tells
- place, action: how many of the panels show what their own text tells (prompt following, not to be lost)

Then with the first panel given: whether the other two keep its kind and colour, drawn by a LoRA that was trained so
(conditional), against inpainting without such a training, by the base and by the joint LoRA. Once as a user would ask,
the summary telling what is to be seen; once without a word of it, so that the picture alone can tell. For the second a
LoRA is trained on such captions, and longer: to look at another panel is new to the base.

Results are kept in the folder, so a second call goes on. The figure is `claim.png` in it; `pages.png` shows some pages
of the base and of the LoRA of the fewest grids.
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

from bench.claim_figures import ALONE, DRAWN, TOLD, WAYS, draw_counts, draw_pages
from miniature.flux_data import PANEL, PANELS, draw_large, draw_panel, is_held_out, tell_story
from miniature.reader import Reader
from miniature.world import COLOURS, KINDS, WORN, Character, Scene
from pipeline import task as tasks
from pipeline.cache import Cache
from pipeline.consistency.thresholds import Estimate, share
from pipeline.pixels import cut
from pipeline.text.names import POOL
from training import config, dataset, generate, loop, sampling
from training.generate import GenerationRequest, Generator
from training.job import Job, find_backend
from training.processes import Processes

TASK = "storyboard"
SEED = 11
LONGER = 6
"""Times the steps that a LoRA is given to learn to look at the given panel."""
TEST = 0.5
"""Share of the characters that the base never saw which are kept for the prompts."""
GIVEN = {"kind": "panels", "colour": "panels", "both": "panels", "place": "panels", "action": "panels"}
"""What is told of pages with a given panel, and what it is a share of."""
SHOWN = 6
"""Pages shown, each of another character."""


@dataclass(frozen=True)
class Story:
    """A page: three scenes of one character, and what is said of them."""

    scenes: tuple[Scene, ...]
    name: str

    def caption(self, *, told: bool) -> str:
        """The joint caption; the character's looks in the summary, or nowhere."""
        return tell_story(self.scenes, self.name, self.scenes[0].character.words if told else None)

    def panels(self) -> list[Image.Image]:
        return [Image.fromarray(draw_panel(scene, filmed=True)) for scene in self.scenes]


def characters(*, test: bool) -> list[Character]:
    """Those that the base never saw, on one side or the other of a drawn line."""
    unseen = [Character(k, c, w) for k in KINDS for c in COLOURS for w in WORN if is_held_out(Character(k, c, w))]
    random.Random(SEED).shuffle(unseen)
    middle = round(len(unseen) * TEST)
    return unseen[:middle] if test else unseen[middle:]


def stories(count: int, *, test: bool) -> list[Story]:
    """Pages whose character comes round evenly; the first of a longer list are the shorter list."""
    cast, rng, made = characters(test=test), random.Random(SEED + test), []
    for number in range(count):
        who = cast[number % len(cast)]
        scenes = tuple(replace(draw_large(rng), character=who) for _ in range(PANELS))
        made.append(Story(scenes, rng.choice(POOL)))
    return made


# ---- a LoRA


def write_data(folder: Path, pages: Sequence[Story], *, told: bool) -> None:
    home = folder / "train"
    home.mkdir(parents=True, exist_ok=True)
    for number, page in enumerate(pages):
        grid = Image.new("RGB", (PANEL[0], PANELS * PANEL[1]))
        for place, panel in enumerate(page.panels()):
            grid.paste(panel, (0, place * PANEL[1]))
        grid.save(home / f"{number:04d}.png")
        (home / f"{number:04d}.txt").write_text(page.caption(told=told), encoding="utf-8")


def train(out: Path, size: int, steps: int, *, conditional: bool = False, told: bool = True) -> Path:
    """A LoRA on so many grids; its files of earlier steps lie beside it."""
    name = f"{'conditional' if conditional else 'joint'}-{size}{'' if told else '-wordless'}"
    write_data(out / name / "data", stories(size, test=False), told=told)
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


# ---- what is drawn, and what it shows


def seen(grids: Sequence[Image.Image], reader: Reader) -> list[list[dict[str, str]]]:
    """What the reader finds in every panel of every grid."""
    layout = config.scaled(tasks.load(TASK).grid_layout, 0.125, 64, 16)
    panels = [panel for grid in grids for panel in cut(grid, layout)]
    pixels = torch.from_numpy(np.stack([np.array(panel) for panel in panels])).permute(0, 3, 1, 2).float() / 255
    told = [one for start in range(0, len(pixels), 64) for one in reader.read(pixels[start : start + 64])]
    return [told[start : start + layout.size] for start in range(0, len(told), layout.size)]


def studio_of(file: Path | None, given_as: sampling.GivenAs = "clean") -> Generator:
    """The mini FLUX, with a LoRA or without, at a storyboard's size at an eighth."""
    storyboard = tasks.load(TASK)
    wanted = config.load(storyboard, miniature=True)
    return Generator(
        find_backend(storyboard.base, wanted.model, None),
        file,
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
    told: bool = True,
) -> dict[str, int]:
    """Counts over all pages and seeds; a given panel is not counted.

    Args:
        given_as: how the first panel, which is given, is shown to the model; None where nothing is given.
        told: whether the summary tells what the character looks like.
    """
    todo = [(page, seed) for seed in range(seeds) for page in pages]
    requests = [
        GenerationRequest(page.caption(told=told), seed, {0: page.panels()[0]} if given_as else {})
        for page, seed in todo
    ]
    found = seen(generate.draw(studio_of(file, given_as or "clean"), requests), Reader.load())
    counts = dict.fromkeys(("pages", "panels", "same", "as told", "kind", "colour", "both", "place", "action"), 0)
    for (page, _), panels in zip(todo, found, strict=True):
        shown, scenes = (panels[1:], page.scenes[1:]) if given_as else (panels, page.scenes)
        who = page.scenes[0].character
        kinds = [panel["kind"] == who.kind for panel in shown]
        colours = [panel["colour"] == who.colour for panel in shown]
        both = [kind and colour for kind, colour in zip(kinds, colours, strict=True)]
        counts["pages"] += 1
        counts["panels"] += len(shown)
        counts["same"] += len({(panel["kind"], panel["colour"]) for panel in shown}) == 1
        counts["as told"] += all(both)
        counts["kind"] += sum(kinds)
        counts["colour"] += sum(colours)
        counts["both"] += sum(both)
        counts["place"] += sum(panel["place"] == scene.place for panel, scene in zip(shown, scenes, strict=True))
        counts["action"] += sum(panel["action"] == scene.action for panel, scene in zip(shown, scenes, strict=True))
    return counts


def show(pages: Sequence[Story], lora: Path, name: str, path: Path) -> None:
    """The same pages by the base and by a LoRA."""
    requests = [GenerationRequest(page.caption(told=True)) for page in pages]
    drawn = {who: generate.draw(studio_of(file), requests) for who, file in (("base", None), (name, lora))}
    draw_pages([request.prompt for request in requests], drawn, path)


class Results:
    """Counts by condition, on disk."""

    def __init__(self, folder: Path, name: str = "claim.json") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / name
        self.known: dict[str, dict[str, int]] = json.loads(self.file.read_text()) if self.file.exists() else {}

    def get(self, name: str, told: Mapping[str, str], count: Callable[[], dict[str, int]]) -> None:
        """Counts, unless that has been done, and prints those `told`, each with the count that it is a share of."""
        if name not in self.known:
            self.known[name] = count()
            self.file.write_text(json.dumps(self.known, indent=1))
        counts = self.known[name]
        parts = [f"{key} {share(Estimate(counts[key], counts[of]).facts())}" for key, of in told.items()]
        print(f"{name:<40}{'  '.join(parts)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--prompts", type=int, default=64, help="pages that are drawn (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=2, help="times each is drawn (default: %(default)s)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[20, 40, 80], help="grids (default: 20 40 80)")
    parser.add_argument("--steps", type=int, default=400, help="of every training (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/claim"), help="folder (default: %(default)s)")
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
    for told, words in ((True, TOLD), (False, ALONE)):
        trained = train(out, size, steps if told else LONGER * steps, conditional=True, told=told)
        ways: Sequence[tuple[Path | None, sampling.GivenAs]] = ((None, "noised"), (joint, "noised"), (trained, "clean"))
        for way, (file, given_as) in zip(WAYS, ways, strict=True):
            results.get(f"{words}: {way}", GIVEN, partial(measure, file, pages, options.seeds, given_as, told=told))
    draw_counts(results.known, options.sizes, steps, out / "claim.png")
    show(pages[:SHOWN], sized[options.sizes[0]], f"LoRA of {options.sizes[0]} grids", out / "pages.png")
    base, _, conditional = (f"{TOLD}: {way}" for way in WAYS)
    for better, worse, key in ((f"{size} grids, {steps} steps", "base", "same"), (conditional, base, "both")):
        if results.known[better][key] <= results.known[worse][key]:
            sys.exit(f"'{better}' keeps the character no better than '{worse}'")


if __name__ == "__main__":
    main()
