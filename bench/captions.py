"""How true a captioner's captions are, attribute by attribute, on films that no model was trained on.

    python -m bench.captions [--films 12] [--captioner local] [--set captioner.model=Qwen/Qwen3-VL-4B-Instruct]

Grids are made from held-out films by the line itself and captioned by the caption stage as in `iclora caption`. What
each panel shows is known from the film. Panels are read as a scorer reads them, with looks in place of names. An
attribute of a panel is right where the panel's text states its value and no other, omitted where the text lacks the
value, hallucinated where it states another; a value that is mistaken for another is both omitted and hallucinated.
Without options the miniature model is measured.

Texts are searched for the words of the world, whole words in either case and number and in whatever sentence. That has
limits: a synonym that WORDS lacks counts as omitted, and a beach ball on the farm as a beach.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import captioners
from bench.corrupted import Truth, build
from iclora.run import Run
from iclora.settings import Settings
from miniature.frames import ATTRIBUTES, value_of
from miniature.world import Scene
from pipeline import plugins
from pipeline.engines import local
from pipeline.records import Caption
from pipeline.stages import caption
from pipeline.store import Mark
from pipeline.text import grammar

# Other words than a value's own under which it is told, as patterns.
WORDS = {
    "rabbit": "rabbit|bunny|hare",
    "bear": "bear|teddy",
    "cat": "cat|kitten",
    "duck": "duck|duckling",
    "purple": "purple|violet",
    "cape": "cape|cloak",
    "mountains": "mountain",
    "icecream": "ice[ -]?cream",
    "easel": "easel|paint|painting",
    "wide": r"(?:wide|long|full)[ -](?:\w+ )?(?:angle|shot|view)",
    "medium": r"(?:medium|mid)[ -](?:\w+ )?(?:shot|view)",
    "close": "close[ -]?up",
}
KIND = "|".join(WORDS.get(kind, kind) for kind in ATTRIBUTES["kind"])
# A colour is the character's where the kind follows within two words ("a red cartoon rabbit"): skies are blue as well.
# Where no kind is told ("the red figure") any colour counts.
BEFORE_KIND = rf"(?=(?:[\s-]+\w+){{0,2}}[\s-]+(?:{KIND})s?\b)"


@dataclass(frozen=True)
class Verdict:
    """What one panel's text says of one attribute."""

    attribute: str
    panel: int
    """Place in the grid, from 1."""
    omitted: bool
    hallucinated: bool

    @property
    def right(self) -> bool:
        return not (self.omitted or self.hallucinated)


def stated(text: str, attribute: str) -> set[str]:
    """The values of an attribute that a panel's text states; names of people say nothing."""
    told = grammar.NAME.sub("", text)
    near = BEFORE_KIND if attribute == "colour" and _has(KIND, told) else ""
    return {value for value in ATTRIBUTES[attribute] if _has(WORDS.get(value, value), told, near)}


def _has(words: str, text: str, near: str = "") -> bool:
    return re.search(rf"\b(?:{words})s?\b{near}", text, re.IGNORECASE) is not None


def judge(texts: Sequence[str], scenes: Sequence[Scene]) -> list[Verdict]:
    """Every attribute of every panel of one grid."""
    verdicts = []
    for panel, (text, scene) in enumerate(zip(texts, scenes, strict=True), start=1):
        for attribute in ATTRIBUTES:
            told, true = stated(text, attribute), value_of(scene, attribute)
            verdicts.append(Verdict(attribute, panel, true not in told, bool(told - {true})))
    return verdicts


def rate(verdicts: Sequence[Verdict], of: str, attribute: str = "", panel: int = 0) -> float:
    """The share that is "right", "omitted" or "hallucinated", of one attribute or panel where one is given."""
    chosen = [
        bool(getattr(verdict, of))
        for verdict in verdicts
        if attribute in ("", verdict.attribute) and panel in (0, verdict.panel)
    ]
    return sum(chosen) / len(chosen)


def table(verdicts: Sequence[Verdict]) -> str:
    """A line an attribute; under each rate a column a panel and one for all."""
    panels = sorted({verdict.panel for verdict in verdicts})
    rates = ("right", "hallucinated", "omitted")
    width = 7 * (len(panels) + 1)
    lines = [
        f"{'':<10}" + "  ".join(f"{of:>{width}}" for of in rates),
        f"{'panel':<10}" + "  ".join("".join(f"{panel:>7}" for panel in [*panels, "all"]) for _ in rates),
    ]
    for attribute in [*ATTRIBUTES, ""]:
        shares = [[rate(verdicts, of, attribute, panel) for panel in [*panels, 0]] for of in rates]
        blocks = ("".join(f"{share:>7.1%}" for share in block) for block in shares)
        lines.append(f"{attribute or 'all':<10}" + "  ".join(blocks))
    return "\n".join(lines)


def measure(run: Run, truths: Sequence[Truth], settings: Settings) -> tuple[list[Verdict], list[Caption], Mark]:
    """Captions the grids by the settings' captioner; a grid without a caption has everything omitted."""
    task = settings.load_task()
    captioner = plugins.load(captioners, settings.captioner).make(task.captioner)
    grids = [truth.grid for truth in truths]
    stage = caption.stage(task, grids, captioner, run.folder, run.store.cache)
    mark = local.run(stage, grids, run.store, upstream=run.store.digest("grids"), progress=lambda *_: None)
    captions = {made.grid: made for made in run.store.items(Caption, "captions")}
    verdicts: list[Verdict] = []
    for truth in truths:
        made = captions.get(truth.grid.id)
        verdicts += judge(grammar.alone(made)[:-1] if made else [""] * len(truth.scenes), truth.scenes)
    return verdicts, list(captions.values()), mark


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--films", type=int, default=12, help="held-out films of 24 shots (default: %(default)s)")
    parser.add_argument("--captioner", default="local", help="as in iclora (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as in iclora; repeatable")
    options = parser.parse_args()
    settings = Settings(task="storyboard", captioner=options.captioner, overrides=tuple(options.set))
    with tempfile.TemporaryDirectory() as folder:
        run, truths = build(Path(folder), options.films)
        verdicts, captions, mark = measure(run, truths, settings)
        faulty = sum(bool(made.problems) for made in captions)
        attempts = sum(made.attempts for made in captions) / max(1, len(captions))
        print(f"{len(truths)} grids of {options.films} held-out films, captioner {options.captioner}")
        print(f"{len(captions)} captions, {faulty} with faults, {attempts:.2f} attempts and", end=" ")
        print(f"{mark.seconds / len(truths):.2f} s a grid\n")
        print(table(verdicts))


if __name__ == "__main__":
    main()
