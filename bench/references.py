"""What does a reference image carry into new panels: the kind of a character, its colour?

    python -m bench.references [--taught] [--grids 80] [--steps 1200] [--prompts 48] [--seeds 2] [--out runs/references]

The miniature's FLUX is taken for a FLUX.1 Kontext, whose transformer is the same: reference images are further tokens
with places of their own, which this base has never seen. A LoRA is trained with the first panel of every grid beside
the canvas (`train.conditions`), on captions that tell no looks, so that the picture alone shows who it is. Then pages
about characters that neither base nor LoRA has seen are drawn, each beside a picture of its character, and a network
that was trained on drawn frames recognises what the panels show (`miniature.making.reader`).

Printed are the shares of panels with the character's kind, colour and both, with 95 % intervals by a bootstrap over
pages, with the LoRA and by the base alone; and what a guess would be. The first panel is the reference's own scene,
which a LoRA may copy, so only the others count. Beside it stand panels that are given in the canvas, which
`bench.claim` measures. All is kept in the folder, so a second call resumes.

People train bases that know reference images already. With `--taught` the mini FLUX is first trained for that, on
characters that are not asked for (`miniature.making.train_kontext`, about an hour on 2 cores).
"""

from __future__ import annotations

import argparse
import json
import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from pathlib import Path

import numpy as np
import torch
from PIL import Image

import iclora
from bench.claim import TRAINING
from bench.evaluated import options_of, run_command
from bench.stories import TASK, Story, stories, write_data
from iclora.prompts import Prompt
from miniature.making import train_kontext
from miniature.making.reader import Reader
from miniature.world import COLOURS, KINDS
from training.config import MINIATURE
from training.evaluation.statistics import Estimate, known_mean

SHOWN = 6
"""Pages in the picture."""
ENLARGED = 2
"""How many times as large as drawn they are there."""


def as_kontext(folder: Path) -> Path:
    """The miniature's FLUX as a pipeline that takes a reference image."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in MINIATURE.iterdir():
        if part.is_dir() and not (folder / part.name).exists():
            (folder / part.name).symlink_to(part)
    index = json.loads((MINIATURE / "model_index.json").read_text(encoding="utf-8"))
    told = json.dumps(index | {"_class_name": "FluxKontextPipeline"})
    (folder / "model_index.json").write_text(told, encoding="utf-8")
    return folder


def train(out: Path, model: Path, options: argparse.Namespace) -> Path:
    data = write_data(out / "data", stories(options.grids, test=False), described=False)
    settings = TRAINING | {"model": model, "steps": options.steps, "save_every": options.steps // 4}
    words = options_of({f"train.{key}": value for key, value in settings.items()} | {"base": '"flux-1-kontext"'})
    given = 'train.conditions=[{seen="reference",panels="first"}]'
    run_command("train", TASK, "--data", data, "--into", out / "training", *words, "--set", given)
    return out / "training" / f"{TASK}.safetensors"


def draw(loras: dict[Path, float], model: Path, pages: list[Story], seeds: int) -> list[list[Image.Image]]:
    """Panels of every page and seed, each page beside the first panel of its story."""
    prompts = [Prompt(page.caption(described=False), references=(page.panels()[0],)) for page in pages]
    drawn = iclora.generate(loras, prompts, model=str(model), seeds=range(seeds))
    return [list(one.panels) for one in drawn]


def count(drawn: list[list[Image.Image]], pages: list[Story], seeds: int) -> dict[str, Estimate | None]:
    """Shares of panels but the first that show the page's character."""
    reader, new = Reader.load(), [panels[1:] for panels in drawn]
    stacked = np.stack([np.array(panel) for panels in new for panel in panels])
    seen = reader.read(torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255)
    each = len(new[0]) * seeds
    right: dict[str, list[list[float]]] = {"kind": [], "colour": [], "both": []}
    for number, page in enumerate(pages):
        who, panels = page.scenes[0].character, seen[number * each : (number + 1) * each]
        kinds, colours = ([panel[look] == getattr(who, look) for panel in panels] for look in ("kind", "colour"))
        both = [kind and colour for kind, colour in zip(kinds, colours, strict=True)]
        for look, found in zip(right, (kinds, colours, both), strict=True):
            right[look].append([float(one) for one in found])
    return {look: known_mean(np.array(found)) for look, found in right.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    for name, usual, what in (
        ("grids", 80, "training grids"),
        ("steps", 1200, "training steps"),
        ("prompts", 48, "pages to draw"),
        ("seeds", 2, "images per page"),
    ):
        parser.add_argument(f"--{name}", type=int, default=usual, help=f"{what} (default: %(default)s)")
    parser.add_argument("--taught", action="store_true", help="first train the base with references, for an hour")
    parser.add_argument("--out", type=Path, default=Path("runs/references"), help="folder (default: %(default)s)")
    options = parser.parse_args()
    model, home = as_kontext(options.out / "kontext"), options.out
    if options.taught:
        home = options.out / "taught"
        if not (home / "model").is_dir():
            train_kontext.train(home / "model", model)
        model = home / "model"
    lora = train(home, model, options)
    pages = stories(options.prompts, test=True)
    for name, strength in (("LoRA", 1.0), ("base", 0.0)):
        drawn = draw({lora: strength}, model, pages, options.seeds)
        figures = count(drawn, pages, options.seeds)
        print(f"{name:<8}{'  '.join(f'{look} {figure}' for look, figure in figures.items())}", flush=True)
        save(drawn, pages, options.seeds, home / f"{name.lower()}.png")
    print(f"a guess: kind {1 / len(KINDS):.0%}, colour {1 / len(COLOURS):.0%}")


def save(drawn: list[list[Image.Image]], pages: list[Story], seeds: int, path: Path) -> None:
    """Some pages, a row each: the reference image, then the panels drawn beside it."""
    width, height = drawn[0][0].size
    sheet = Image.new("RGB", ((1 + len(drawn[0])) * (width + 8), SHOWN * (height + 8)), "white")
    for row in range(SHOWN):
        for column, panel in enumerate([pages[row].panels()[0], *drawn[row * seeds]]):
            sheet.paste(panel, (column * (width + 8) + (8 if column else 0), row * (height + 8)))
    sheet.resize((ENLARGED * sheet.width, ENLARGED * sheet.height), Image.Resampling.LANCZOS).save(path)


if __name__ == "__main__":
    main()
