"""The whole chain without manual steps: films, data set, LoRA, measured image sets.

    python -m bench.chain [--prompts 64] [--seeds 2] [--out runs/chain]

Runs the first commands of README, `iclora dataset storyboard` and `iclora train storyboard`, on films that the
miniature draws: cuts, grouping, captions by the mini VLM, filter, export, 600 steps. Then `iclora evaluate`
draws pages of characters that neither the base model nor the films have, with the base, with this LoRA, and with that
of the same chain with captions that describe the looks in every panel (`caption.looks=each`). The caption describes the
character once, in the summary, and a small network, which is the judge, recognises what the panels show. Reported with
95 % Wilson intervals:

- same: one kind and one colour in all three panels
- as described: and they are those in the summary
- place, action: how many of the panels show what their own text describes

The first must be what `iclora evaluate` says of the judge. Data sets, LoRAs and counts are kept in the folder.
`pages.png` in it shows the same prompts drawn by all three.
Goal: `same` on 60 % of the pages.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from PIL import Image

import iclora
from bench import claim
from bench.claim import SHOWN, TASK, Results, Story, count
from bench.claim_figures import DRAWN, draw_pages
from iclora.evaluation import BASE, Evaluation
from iclora.evaluation.results import Judged
from miniature.film import truth_path
from miniature.world import Character
from pipeline.pixels import open_image

GOAL = 0.6
JUDGE = Path(__file__).with_name("reader_judge.py")
ROUNDING = 1e-9
LOOKS = ("once", "each")


def make(run: Path, looks: str) -> Path:
    """Runs the commands that make a data set and a LoRA; returns the LoRA's file."""
    iclora = str(Path(sys.executable).parent / "iclora")
    for command in (["dataset", TASK, "--set", f"caption.looks={looks}"], ["train", TASK]):
        print(f"iclora {' '.join(command)} --out {run}", flush=True)
        subprocess.run([iclora, *command, "--out", str(run)], check=True, stdout=subprocess.DEVNULL)
    return run / "training" / f"{TASK}.safetensors"


def filmed(run: Path) -> set[Character]:
    """The characters in the run's films."""
    truths = [json.loads(truth_path(film).read_text(encoding="utf-8")) for film in (run / "miniature").glob("*.mp4")]
    return {Character(one["kind"], one["colour"], one["worn"]) for truth in truths for one in truth["cast"]}


def prompts(number: int, but: set[Character]) -> list[Story]:
    """Pages of unseen characters; a kind and colour that a film shows in other clothes counts as seen."""
    known = {character.body for character in but}
    pages = [page for page in claim.stories(8 * number, test=True) if page.scenes[0].character.body not in known]
    return pages[:number]


def kept(run: Path) -> int:
    return len(list((run / "dataset" / "train").glob("*.txt")))


def evaluate(run: Path, loras: Sequence[Path], pages: Sequence[Story], seeds: int) -> Evaluation:
    """What base and LoRAs draw of the pages, judged by the reader."""
    with iclora.open_run(TASK, folder=run) as opened:
        return iclora.evaluate(
            opened, loras, prompts=[page.caption(described=True) for page in pages], seeds=seeds, judge=str(JUDGE)
        )


def pictures(evaluation: Evaluation, candidate: str) -> list[Image.Image]:
    """What a candidate has drawn, by page and seed."""
    return [open_image(evaluation.folder / one.file) for one in evaluation.grids if one.candidate == candidate]


def agree(counts: Mapping[str, int], judged: Judged, name: str) -> None:
    """Ends the program if the evaluation's own figure is another than the count."""
    said, share = judged.consistent, counts["same"] / counts["pages"]
    if said is None or abs(said.value - share) > ROUNDING:
        sys.exit(f"{name}: `iclora evaluate` says {said} of one character in all panels, counted {share:.3f}")
    print(f"{name}: iclora evaluate says consistent {said}, follows its texts {judged.follows}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--prompts", type=int, default=64, help="pages to draw (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=2, help="images per page (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/chain"), help="folder for results (default: %(default)s)"
    )
    options = parser.parse_args()
    files = {f"looks {looks}": make(options.out / looks, looks) for looks in LOOKS}
    seen = filmed(options.out / LOOKS[0])
    pages, results = prompts(options.prompts, seen), Results(options.out, "chain.json")
    evaluation = evaluate(options.out / LOOKS[0], list(files.values()), pages, options.seeds)
    loras = zip(files, evaluation.results[1:], strict=True)
    names = {f"{name}, {kept(files[name].parent.parent)} grids": one.candidate for name, one in loras}
    drawn = {name: pictures(evaluation, candidate) for name, candidate in {"base": BASE, **names}.items()}
    shown_pages = [page for page in pages for _ in range(options.seeds)]
    for name, grids in drawn.items():
        results.get(name, {key: of for key, (of, _) in DRAWN.items()}, partial(count, shown_pages, grids))
    for name, candidate in {"base": BASE, **names}.items():
        agree(results.known[name], evaluation.judged[candidate], name)
    firsts = slice(0, SHOWN * options.seeds, options.seeds)
    captions = [page.caption(described=True) for page in pages[:SHOWN]]
    draw_pages(captions, {name: grids[firsts] for name, grids in drawn.items()}, options.out / "pages.png")
    once = results.known[next(iter(names))]
    if once["same"] < GOAL * once["pages"]:
        sys.exit(f"one character in all panels on {once['same']} of {once['pages']} pages, goal: {GOAL:.0%}")


if __name__ == "__main__":
    main()
