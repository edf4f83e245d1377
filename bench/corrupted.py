"""How many corrupted grids the filter catches, per kind of fault, on held-out films.

    python -m bench.corrupted [--films 12]

The pipeline itself makes grids of films that no model was trained on; their true captions come from the films' scripts.
Then a quarter of the grids is corrupted in one way, in the caption or in the picture. The filter runs as in `iclora
filter`, with its thresholds calibrated on the run's own scores, corrupted grids included. Goal, for each kind and for
all wrong attributes together: 95 % caught at 5 % false rejects.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import operator
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from iclora.run import Run
from iclora.settings import Settings
from miniature import film
from miniature.making.reply import reply
from miniature.world import ACTIONS, COLOURS, KINDS, PLACES, Character, Scene
from pipeline import pixels
from pipeline.cache import Cache
from pipeline.captioning import replies
from pipeline.consistency import thresholds
from pipeline.consistency.scorers.base import Scorer
from pipeline.records import Caption, Grid, Position, Rejected
from pipeline.stages import filter
from pipeline.task import Task
from pipeline.text import grammar, names

SHARE = 0.25  # of a run's grids that are corrupted
CAUGHT, FALSE = 0.95, 0.05  # the goal
STRANGERS = "strangers"
"""Rejections for this reason alone are ignored here: `bench.strangers` measures them."""


@dataclass(frozen=True)
class Truth:
    """A grid and the scenes that its panels show."""

    grid: Grid
    scenes: tuple[Scene, ...]

    def of_other_films(self, truths: Sequence[Truth]) -> list[Truth]:
        return [other for other in truths if other.film != self.film]

    @property
    def film(self) -> str:
        return self.grid.group.records[0].position.film

    def caption(self, task: Task, scenes: Sequence[Scene] | None = None) -> Caption:
        """The caption of the given scenes, or of the grid's own."""
        parts = replies.read(reply(list(scenes or self.scenes), named=True), task).parts
        assert parts is not None
        cast = dict(zip((person.name for person in parts.people), names.draw(len(parts.people), 0, 0), strict=True))
        return replace(grammar.caption_of(grammar.renamed(parts, cast), task), grid=self.grid.id)


def build(folder: Path, films: int) -> tuple[Run, list[Truth]]:
    """A run over held-out films up to its grids, with their scenes."""
    home = folder / "films"
    film.write_films(home, films=films, seed=film.HELD_OUT_SEED)
    clip = f"scorer.model=local-dir:{Path(film.__file__).parent / 'clip'}"
    settings = Settings(
        task="storyboard", sources=(str(home),), captioner="sidecar", overrides=(clip, "filter.recurring=false")
    )
    run = Run(settings, folder / "run")
    run.advance("compose")
    shots = {path.name: _shots(path) for path in home.glob("*.mp4")}
    truths = []
    for grid in run.store.items(Grid, "grids"):
        scenes = tuple(shown(shots[record.position.film], record.position) for record in grid.group.records)
        truths.append(Truth(grid, scenes))
    return run, truths


def _shots(path: Path) -> list[dict[str, object]]:
    return list(json.loads(film.truth_path(path).read_text(encoding="utf-8"))["shots"])


def shown(shots: Sequence[dict[str, object]], position: Position) -> Scene:
    """The scene at a frame's time: two shots joined by a dissolve may have been detected as one."""
    shot = next(shot for shot in reversed(shots) if float(str(shot["start"])) <= position.time)
    kind, colour, worn, place, action, size = (
        str(shot[key]) for key in ("kind", "colour", "worn", "place", "action", "shot")
    )
    return Scene(Character(kind, colour, worn), place, action, size)


# ---- ways to corrupt a grid or its caption

Spoilt = tuple[Grid, Caption]
Spoiler = Callable[[Truth, Sequence[Truth], Run, random.Random], Spoilt]


def swapped(truth: Truth, truths: Sequence[Truth], run: Run, rng: random.Random) -> Spoilt:
    """Swaps two panel texts."""
    scenes = list(truth.scenes)
    one, two = rng.sample(range(len(scenes)), 2)
    scenes[one], scenes[two] = scenes[two], scenes[one]
    return truth.grid, truth.caption(run.task, scenes)


def foreign(truth: Truth, truths: Sequence[Truth], run: Run, rng: random.Random) -> Spoilt:
    """Uses the caption of a grid from another film."""
    other = rng.choice(truth.of_other_films(truths))
    return truth.grid, replace(other.caption(run.task), grid=truth.grid.id)


def unrelated(truth: Truth, truths: Sequence[Truth], run: Run, rng: random.Random) -> Spoilt:
    """Replaces one panel's picture by one from another film."""
    other = rng.choice(truth.of_other_films(truths))
    panel, source = (rng.randrange(len(truth.scenes)) for _ in range(2))
    picture = pixels.open_image(run.folder / other.grid.path).crop(other.grid.layout.boxes[source])
    return with_picture(truth.grid, panel, picture, run.folder), truth.caption(run.task)


def duplicated(truth: Truth, truths: Sequence[Truth], run: Run, rng: random.Random) -> Spoilt:
    """Replaces one panel's picture by that of another panel."""
    panel, source = rng.sample(range(len(truth.scenes)), 2)
    picture = pixels.open_image(run.folder / truth.grid.path).crop(truth.grid.layout.boxes[source])
    return with_picture(truth.grid, panel, picture, run.folder), truth.caption(run.task)


def with_picture(grid: Grid, panel: int, picture: Image.Image, folder: Path) -> Grid:
    """The grid, redrawn with another picture for one panel."""
    drawn = pixels.open_image(folder / grid.path)
    drawn.paste(picture, grid.layout.boxes[panel][:2])
    path = Path("corrupted") / f"{hashlib.sha256(drawn.tobytes()).hexdigest()[:16]}.png"
    (folder / path).parent.mkdir(exist_ok=True)
    drawn.save(folder / path, compress_level=1)
    return replace(grid, path=str(path))


def wrong(attribute: str) -> Spoiler:
    """Changes one attribute in one panel's text."""
    values = {"colour": COLOURS, "kind": KINDS, "place": tuple(PLACES), "action": tuple(ACTIONS)}[attribute]

    def spoil(truth: Truth, truths: Sequence[Truth], run: Run, rng: random.Random) -> Spoilt:
        scenes = list(truth.scenes)
        panel = rng.randrange(len(scenes))
        scene = scenes[panel]
        person = attribute in ("colour", "kind")
        now = getattr(scene.character if person else scene, attribute)
        other = rng.choice([value for value in values if value != now])
        if person:
            scenes[panel] = replace(scene, character=replace(scene.character, **{attribute: other}))
        else:
            scenes[panel] = replace(scene, **{attribute: other})
        return truth.grid, truth.caption(run.task, scenes)

    return spoil


SPOILERS: dict[str, Spoiler] = {
    "swapped segments": swapped,
    "foreign caption": foreign,
    "unrelated panel": unrelated,
    "duplicated panel": duplicated,
    "wrong colour": wrong("colour"),
    "wrong kind": wrong("kind"),
    "wrong place": wrong("place"),
    "wrong action": wrong("action"),
}
TOGETHER = "wrong attribute"


@dataclass(frozen=True)
class Rates:
    spoilt: int
    caught: int
    good: int
    false: int

    def __add__(self, other: Rates) -> Rates:
        return Rates(
            self.spoilt + other.spoilt, self.caught + other.caught, self.good + other.good, self.false + other.false
        )

    @property
    def reached(self) -> bool:
        return self.caught >= CAUGHT * self.spoilt and self.false <= FALSE * self.good


def measure(run: Run, truths: Sequence[Truth], scorer: Scorer, kind: str, seed: int) -> Rates:
    """Runs the filter over the grids, a quarter of them corrupted in one way."""
    rng = random.Random(f"{kind} {seed}")
    chosen = set(rng.sample(range(len(truths)), round(SHARE * len(truths))))
    true = [(truth.grid, truth.caption(run.task)) for truth in truths]
    pairs = [
        SPOILERS[kind](truth, truths, run, rng) if number in chosen else true[number]
        for number, truth in enumerate(truths)
    ]
    # Swapping two panels that show the same thing leaves the caption true, so such a grid is not corrupted.
    spoilt = {
        grid.id
        for (grid, caption), (own, correct) in zip(pairs, true, strict=True)
        if grid.path != own.path or grammar.alone(caption) != grammar.alone(correct)
    }
    stage = filter.stage(run.task, [grid for grid, _ in pairs], scorer, run.folder, Cache(run.folder / "cache"))
    found = [row for row in stage.run([caption for _, caption in pairs]) if isinstance(row, Rejected)]
    rejected = {row.id for row in found if row.reason != STRANGERS}
    return Rates(len(spoilt), len(rejected & spoilt), len(truths) - len(spoilt), len(rejected - spoilt))


def line(kind: str, rates: Rates) -> str:
    caught = thresholds.share(thresholds.Estimate(rates.caught, rates.spoilt).facts())
    false = thresholds.share(thresholds.Estimate(rates.false, rates.good).facts())
    return f"{kind:<18} {caught:>28} {false:>28}   {'yes' if rates.reached else 'no'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--films", type=int, default=12, help="held-out films of 24 shots (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=4, help="random draws per kind (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run, truths = build(Path(folder), options.films)
        assert run.scorer is not None
        print(f"{len(truths)} grids of {options.films} held-out films, {SHARE:.0%} corrupted, {options.rounds} draws;")
        print("95 % confidence intervals in brackets\n")
        print(f"{'kind of fault':<18} {'caught':>28} {'false rejects':>28}   goal reached")
        found = {}
        for kind in SPOILERS:
            draws = (measure(run, truths, run.scorer, kind, seed) for seed in range(options.rounds))
            found[kind] = functools.reduce(operator.add, draws)
            print(line(kind, found[kind]), flush=True)
        together = functools.reduce(operator.add, (rates for kind, rates in found.items() if kind.startswith("wrong")))
        print(line(TOGETHER, together))


if __name__ == "__main__":
    main()
