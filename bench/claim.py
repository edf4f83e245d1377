"""The paper's claim in miniature: a LoRA trained on a few grids makes the base keep a character across panels.

    python -m bench.claim [--prompts 64] [--seeds 2] [--sizes 20 40 80] [--steps 400] [--out runs/claim]

The base model never saw the characters, and those of the training grids differ from those of the prompts. A caption
describes its character once, in the summary, and refers to it by name in the panels. The rest is done by the toolkit's
commands, which are printed: `iclora dataset` makes a run of the largest set, whose grids are the scale, `iclora train`
the LoRAs, and all figures are those of `iclora evaluate`, with a judge that knows: a network trained on drawn frames
recognises what every panel shows (`bench.reader_judge`). 95 % intervals by a bootstrap over prompts:

- described: share of the pages with the character in the summary, by kind and colour, in all three panels
- follows: share of places and actions that are as the panels' own texts describe them, which should not suffer
- score: by the miniature's CLIP; 1 as real grids, 0 as shuffled ones

Then the first panel is given: in which share of the others is the character the same? A LoRA trained for this
(conditional) is compared with plain inpainting by the base and by the joint LoRA. First the summary describes the
character, as users would do; then it does not, so that only the picture shows it. For the latter, a LoRA is trained on
such captions, and for longer, since attending to another panel is new to the base.

All is kept in the folder, so a second call resumes; the evaluations are in `evaluations`. The figure is `claim.png`;
`pages.png` shows some pages drawn by the base and by the LoRA of the fewest grids.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.claim_figures import ALONE, BARS, DESCRIBED, DRAWN, WAYS, draw_figures
from bench.evaluated import Evaluated, Figures, evaluate, options_of, run_command, show
from bench.stories import TASK, Story, stories, write_data, write_prompts
from iclora.evaluation import BASE
from iclora.offline import MINIATURE
from miniature.making.flux_data import PANEL
from training import config
from training.monitoring.figures import draw_rows

LONGER = 3
"""Factor on the steps for a LoRA that must learn to attend to the given panel."""
SHOWN = 6
"""Number of pages in `pages.png`, each with a different character."""
PAGES = "Pages for the same captions and noise, of characters that neither base nor LoRA has seen"
TRAINING = {
    "model": config.MINIATURE,
    **{key: config.FOR_MINIATURE[key] for key in ("warmup", "scales", "micro_batch")},
    "learning_rate": 1e-3,
    "smallest_panel": PANEL[1],
    "samples": 0,
}
"""Settings of every LoRA: the miniature's own, at half its learning rate, for trainings of up to 1,200 steps."""


def make_run(folder: Path, grids: Path) -> Path:
    """A run of these grids with none held out: they are the real ones that drawn ones are measured by."""
    settings = {
        "scorer.model": f"local-dir:{MINIATURE / 'clip'}",
        "layout.panel_width": PANEL[0],
        "layout.panel_height": PANEL[1],
        "export.held_out": 0,
    }
    run_command("dataset", TASK, "--source", grids, "--captioner", "sidecar", *options_of(settings), "--out", folder)
    return folder


def train(into: Path, data: Path, steps: int, *, conditional: bool = False) -> Path:
    """Trains a LoRA on a data set; checkpoints of earlier steps are beside its file."""
    settings = TRAINING | {"steps": steps, "save_every": steps // 4, "conditional": int(conditional)}
    words = options_of({f"train.{key}": value for key, value in settings.items()})
    run_command("train", TASK, "--data", data, "--into", into, *words)
    return into / f"{TASK}.safetensors"


def without_given(out: Path, sized: Mapping[int, Path], options: argparse.Namespace) -> Evaluated:
    """LoRAs by the number of their grids, and for the most grids by steps."""
    most, steps = max(sized), options.steps
    files = {f"{size} grids, {steps} steps": file for size, file in sized.items()}
    for step in range(steps // 4, steps, steps // 4):
        files[f"{most} grids, {step} steps"] = sized[most].parent / "steps" / f"{TASK}-{step:06d}.safetensors"
    prompts = write_prompts(out / "prompts.csv", stories(options.prompts, test=True))
    return evaluate(out / "run", "drawn", files, prompts, options.seeds)


def with_given(
    out: Path, joint: Path, words: str, pages: Sequence[Story], options: argparse.Namespace
) -> dict[str, Figures]:
    """With the first panel given: the base and the joint LoRA, which inpaint, and a conditional LoRA.

    Args:
        words: whether the character is described too.
    """
    described, most = words == DESCRIBED, max(options.sizes)
    name = f"{most}" if described else f"{most}-wordless"
    data = write_data(out / "data" / name, stories(most, test=False), described=described)
    steps = options.steps if described else LONGER * options.steps
    conditional = train(out / "training" / f"conditional-{name}", data, steps, conditional=True)
    prompts = write_prompts(out / f"given-{name}" / "prompts.csv", pages, described=described, given=True)
    found = dict[str, Figures]()
    for looks in (looks for of, looks in BARS if of == words):
        _, inpainted, learnt = WAYS
        loras = {inpainted: joint, learnt: conditional}
        evaluated = evaluate(out / "run", f"given-{name}-{looks}", loras, prompts, options.seeds, looks)
        for way, name_there in zip(WAYS, (BASE, *loras), strict=True):
            kept, condition = evaluated.figures[name_there]["described"], f"{words}: {way}"
            found[condition] = {**found.get(condition, {}), looks: kept}
    return found


def read_options() -> argparse.Namespace:
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
    return parser.parse_args()


def main() -> None:
    options = read_options()
    out, steps, most = options.out, options.steps, max(options.sizes)
    sized = dict[int, Path]()
    for size in options.sizes:
        data = write_data(out / "data" / str(size), stories(size, test=False))
        sized[size] = train(out / "training" / f"joint-{size}", data, steps)
    make_run(out / "run", out / "data" / str(most))
    drawn = without_given(out, sized, options)
    show(drawn.figures, [*DRAWN, "better"])
    pages = stories(options.prompts, test=True)
    given = with_given(out, sized[most], DESCRIBED, pages, options) | with_given(
        out, sized[most], ALONE, pages, options
    )
    show(given, [looks for _, looks in BARS])
    draw_figures({**drawn.figures, **given}, options.sizes, steps, out / "claim.png")
    captions = [page.caption(described=True) for page in pages[:SHOWN]]
    fewest = f"{min(sized)} grids, {steps} steps"
    rows = {f"LoRA of {min(sized)} grids" if name == fewest else name: drawn.pictures(name) for name in (BASE, fewest)}
    draw_rows(
        PAGES,
        {name: [row[caption, 0] for caption in captions] for name, row in rows.items()},
        captions,
        out / "pages.png",
    )
    better = drawn.figures[f"{most} grids, {steps} steps"]["better"]
    if better.interval is None or better.interval[0] <= 0:
        sys.exit(f"the LoRA of {most} grids is not better than its base: {better}")
    inpainted, _, conditional = (given[f"{DESCRIBED}: {way}"]["both"] for way in WAYS)
    if conditional.value <= inpainted.value:
        sys.exit(f"a conditional LoRA keeps {conditional} of the given character, inpainting by the base {inpainted}")


if __name__ == "__main__":
    main()
