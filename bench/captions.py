"""Accuracy of a captioner's captions per attribute, on held-out films.

    python -m bench.captions [--films 12] [--captioner local] [--set captioner.model=Qwen/Qwen3-VL-4B-Instruct]

The pipeline itself makes grids of films that no model was trained on, and the caption stage captions them as in
`iclora caption`. The films' scripts say what each panel shows. Panel texts are read as by a scorer, with looks in place
of names. An attribute of a panel is correct if the text states its value and no other, omitted if the text lacks its
value, and hallucinated if the text states another value; a confused value is both omitted and hallucinated. By default
the miniature model is measured.

Texts are searched for whole words from the film world's vocabulary, in any case, singular or plural. The limits: a
synonym that is missing from WORDS counts as an omission, and a beach ball on the farm as a beach.
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
from miniature.making.frames import ATTRIBUTES, value_of
from miniature.world import Scene
from pipeline import plugins
from pipeline.engines import local
from pipeline.records import Caption
from pipeline.stages import caption
from pipeline.store import Mark
from pipeline.text import grammar

# Patterns for other words that state a value.
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
# A colour is the character's if the kind follows within two words ("a red cartoon rabbit"), since skies are blue too.
# If the text states no kind ("the red figure"), any colour counts.
BEFORE_KIND = rf"(?=(?:[\s-]+\w+){{0,2}}[\s-]+(?:{KIND})s?\b)"


@dataclass(frozen=True)
class Verdict:
    """How one panel's text states one attribute."""

    attribute: str
    panel: int
    """Number in the grid, from 1."""
    omitted: bool
    hallucinated: bool

    @property
    def correct(self) -> bool:
        return not (self.omitted or self.hallucinated)


def stated(text: str, attribute: str) -> set[str]:
    """The values of an attribute that a panel's text states; people's names are ignored."""
    bare = grammar.NAME.sub("", text)
    near = BEFORE_KIND if attribute == "colour" and _has(KIND, bare) else ""
    return {value for value in ATTRIBUTES[attribute] if _has(WORDS.get(value, value), bare, near)}


def _has(words: str, text: str, near: str = "") -> bool:
    return re.search(rf"\b(?:{words})s?\b{near}", text, re.IGNORECASE) is not None


def judge(texts: Sequence[str], scenes: Sequence[Scene]) -> list[Verdict]:
    """A verdict on every attribute of every panel of one grid."""
    verdicts = []
    for panel, (text, scene) in enumerate(zip(texts, scenes, strict=True), start=1):
        for attribute in ATTRIBUTES:
            values, true = stated(text, attribute), value_of(scene, attribute)
            verdicts.append(Verdict(attribute, panel, true not in values, bool(values - {true})))
    return verdicts


def rate(verdicts: Sequence[Verdict], of: str, attribute: str = "", panel: int = 0) -> float:
    """The share that is "correct", "omitted" or "hallucinated", of one attribute or panel if given."""
    chosen = [
        bool(getattr(verdict, of))
        for verdict in verdicts
        if attribute in ("", verdict.attribute) and panel in (0, verdict.panel)
    ]
    return sum(chosen) / len(chosen)


def table(verdicts: Sequence[Verdict]) -> str:
    """One line per attribute; for each rate one column per panel and one for all panels."""
    panels = sorted({verdict.panel for verdict in verdicts})
    rates = ("correct", "hallucinated", "omitted")
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
    """Captions the grids with the captioner of the settings; for a grid without a caption everything is omitted."""
    task = settings.load_task()
    captioner = plugins.load(captioners, settings.captioner).make(task.captioner)
    grids = [truth.grid for truth in truths]
    places = caption.places(grids)
    parameters = caption.Parameters(task, captioner, run.folder, run.store.cache, run.counter, places)
    mark = local.run(
        caption.stage(parameters), grids, run.store, upstream=run.store.digest("grids"), progress=lambda *_: None
    )
    captions = {made.grid: made for made in run.store.items(Caption, "captions")}
    verdicts: list[Verdict] = []
    for truth in truths:
        made = captions.get(truth.grid.id)
        verdicts += judge(grammar.alone(made)[:-1] if made else [""] * len(truth.scenes), truth.scenes)
    return verdicts, list(captions.values()), mark


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--films", type=int, default=12, help="held-out films of 24 shots (default: %(default)s)")
    parser.add_argument("--captioner", default="local", help="as for iclora (default: %(default)s)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="as for iclora; may be repeated"
    )
    options = parser.parse_args()
    settings = Settings(task="storyboard", captioner=options.captioner, overrides=tuple(options.set))
    with tempfile.TemporaryDirectory() as folder:
        run, truths = build(Path(folder), options.films)
        verdicts, captions, mark = measure(run, truths, settings)
        faulty = sum(bool(made.problems) for made in captions)
        attempts = sum(made.attempts for made in captions) / max(1, len(captions))
        print(f"{len(truths)} grids of {options.films} held-out films, captioner {options.captioner}")
        print(f"{len(captions)} captions, {faulty} with problems, {attempts:.2f} attempts and", end=" ")
        print(f"{mark.seconds / len(truths):.2f} s per grid\n")
        print(table(verdicts))


if __name__ == "__main__":
    main()
