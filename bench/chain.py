"""The whole chain: films to data set to LoRA to counts, with nothing made by hand.

    python -m bench.chain [--prompts 64] [--seeds 2] [--out runs/chain]

Runs what README's first commands run, `iclora dataset storyboard` and `iclora train storyboard`, on the films that the
miniature draws: cuts, grouping, captions by the mini VLM, filter, export, 600 steps. Then the LoRA draws pages of
characters that neither the base nor the films have; the caption tells the character once, in the summary, and a small
network reads what the panels show. Beside it the base, and as the contrast the same chain with captions that tell
the looks in every panel (`caption.looks=each`). Told with 95 % intervals (Wilson):

- same: one kind and one colour in all three panels
- as told: and these are the ones that the summary tells
- place, action: how many of the panels show what their own text tells

Results are kept in the folder, so a second call goes on. `pages.png` in it shows the same prompts by all three.
Goal: `same` on 60 % of the pages.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

from bench import claim
from bench.claim import SHOWN, TASK, Results, Story, measure, studio_of
from bench.claim_figures import DRAWN, draw_pages
from miniature.film import truth_path
from miniature.world import Character
from training import generate
from training.generate import GenerationRequest

GOAL = 0.6
LOOKS = ("once", "each")


def make(run: Path, looks: str) -> Path:
    """A data set and a LoRA of it, by the commands; the LoRA's file."""
    iclora = str(Path(sys.executable).parent / "iclora")
    for command in (["dataset", TASK, "--set", f"caption.looks={looks}"], ["train", TASK]):
        print(f"iclora {' '.join(command)} --out {run}", flush=True)
        subprocess.run([iclora, *command, "--out", str(run)], check=True, stdout=subprocess.DEVNULL)
    return run / "training" / f"{TASK}.safetensors"


def filmed(run: Path) -> set[Character]:
    """Characters that the run's films show."""
    truths = [json.loads(truth_path(film).read_text(encoding="utf-8")) for film in (run / "miniature").glob("*.mp4")]
    return {Character(one["kind"], one["colour"], one["worn"]) for truth in truths for one in truth["cast"]}


def prompts(count: int, but: set[Character]) -> list[Story]:
    """Pages of characters that nobody has seen; a kind and colour that a film shows in other clothes counts as seen."""
    known = {character.body for character in but}
    pages = [page for page in claim.stories(8 * count, test=True) if page.scenes[0].character.body not in known]
    return pages[:count]


def kept(run: Path) -> int:
    return len(list((run / "dataset" / "train").glob("*.txt")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--prompts", type=int, default=64, help="pages that are drawn (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=2, help="times each is drawn (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/chain"), help="folder (default: %(default)s)")
    options = parser.parse_args()
    files = {f"looks {looks}": make(options.out / looks, looks) for looks in LOOKS}
    seen = filmed(options.out / LOOKS[0])
    pages, results = prompts(options.prompts, seen), Results(options.out, "chain.json")
    names = {f"{name}, {kept(file.parent.parent)} grids": file for name, file in files.items()}
    for name, file in {"base": None, **names}.items():
        results.get(name, {key: of for key, (of, _) in DRAWN.items()}, partial(measure, file, pages, options.seeds))
    shown = pages[:SHOWN]
    requests = [GenerationRequest(page.caption(told=True)) for page in shown]
    drawn = {name: generate.draw(studio_of(file), requests) for name, file in {"base": None, **names}.items()}
    draw_pages([request.prompt for request in requests], drawn, options.out / "pages.png")
    once = results.known[next(iter(names))]
    if once["same"] < GOAL * once["pages"]:
        sys.exit(f"one character in all panels on {once['same']} of {once['pages']} pages, the goal is {GOAL:.0%}")


if __name__ == "__main__":
    main()
