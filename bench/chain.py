"""The whole chain without manual steps: films, data set, LoRA, measured image sets.

    python -m bench.chain [--prompts 64] [--seeds 2] [--out runs/chain]

Runs the first commands of README, `iclora dataset storyboard` and `iclora train storyboard`, on films that the
miniature draws: cuts, grouping, captions by the mini VLM, filter, export, training, all as they are by default. Then
`iclora evaluate` draws pages of characters that neither the base model nor the films have, with the base, with this
LoRA, and with that of the same chain with captions that describe the looks in every panel (`caption.looks=each`). The
caption describes the character once, in the summary, and a small network, which is the judge, recognises what the
panels show. All figures are those of the evaluation, with 95 % intervals by a bootstrap over prompts:

- described: share of the pages with the character in the summary, by kind and colour, in all three panels
- follows: share of places and actions that are as the panels' own texts describe them
- score: by the miniature's CLIP; 1 as real grids, 0 as shuffled ones

Data sets, LoRAs and the evaluation are kept in the folder. `pages.png` in it shows the same prompts drawn by all three.
Goal: `described` on 60 % of the pages.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from bench.claim import PAGES, SHOWN
from bench.claim_figures import DRAWN
from bench.evaluated import evaluate, run_command, show
from bench.stories import TASK, Story, stories, write_prompts
from miniature.film import truth_path
from miniature.world import Character
from training.monitoring.figures import draw_rows

GOAL = 0.6
LOOKS = ("once", "each")


def make(run: Path, looks: str) -> Path:
    """Runs the commands that make a data set and a LoRA; returns the LoRA's file."""
    run_command("dataset", TASK, "--set", f"caption.looks={looks}", "--out", run)
    run_command("train", TASK, "--out", run)
    return run / "training" / f"{TASK}.safetensors"


def filmed(run: Path) -> set[Character]:
    """The characters in the run's films."""
    truths = [json.loads(truth_path(film).read_text(encoding="utf-8")) for film in (run / "miniature").glob("*.mp4")]
    return {Character(one["kind"], one["colour"], one["worn"]) for truth in truths for one in truth["cast"]}


def prompts(number: int, but: set[Character]) -> list[Story]:
    """Pages of unseen characters; a kind and colour that a film shows in other clothes counts as seen."""
    known = {character.body for character in but}
    pages = [page for page in stories(8 * number, test=True) if page.scenes[0].character.body not in known]
    return pages[:number]


def kept(run: Path) -> int:
    return len(list((run / "dataset" / "train").glob("*.txt")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--prompts", type=int, default=64, help="pages to draw (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=2, help="images per page (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/chain"), help="folder for results (default: %(default)s)"
    )
    options = parser.parse_args()
    files = {looks: make(options.out / looks, looks) for looks in LOOKS}
    pages = prompts(options.prompts, filmed(options.out / LOOKS[0]))
    loras = {f"looks {looks}, {kept(file.parent.parent)} grids": file for looks, file in files.items()}
    table = write_prompts(options.out / "prompts.csv", pages)
    evaluated = evaluate(options.out / LOOKS[0], "chain", loras, table, options.seeds)
    show(evaluated.figures, [*DRAWN, "better"])
    captions = [page.caption(described=True) for page in pages[:SHOWN]]
    drawn = {name: evaluated.pictures(name) for name in evaluated.candidates}
    rows = {name: [row[caption, 0] for caption in captions] for name, row in drawn.items()}
    draw_rows(PAGES, rows, captions, options.out / "pages.png")
    once = evaluated.figures[next(iter(loras))]["described"]
    if once.value < GOAL:
        sys.exit(f"the described character is in all panels of {once} of the pages, goal: {GOAL:.0%}")


if __name__ == "__main__":
    main()
