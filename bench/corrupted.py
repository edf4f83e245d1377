"""How many spoilt captions the filter catches, per kind of fault, on films that no model was trained on.

    python -m bench.corrupted [--films 12]

Grids are made from held-out films by the line itself; their true captions come from the films' ground truth. Then a
quarter of them is spoilt in one way, the filter runs as in `iclora filter` (its floor found from the run's own scores,
the spoilt ones among them), and the rates are counted.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from miniature import film
from miniature.world import ACTIONS, COLOURS, KINDS, PLACES, Character, Scene, describe, summarise
from pipeline import grammar, names
from pipeline.cache import Cache
from pipeline.records import Caption, Grid, Position, Rejected
from pipeline.road import Road, Settings
from pipeline.scorers.base import Scorer
from pipeline.stages import filter
from pipeline.task import Task

SHARE = 0.25  # part of a run's captions that is spoilt


@dataclass(frozen=True)
class Truth:
    """A grid and what its panels really show."""

    grid: Grid
    scenes: tuple[Scene, ...]
    cast: tuple[str, ...]
    """Names of the characters in order of first appearance."""

    def caption(self, task: Task, scenes: Sequence[Scene] | None = None) -> Caption:
        """The caption of these scenes, the grid's own without any."""
        shown = list(scenes or self.scenes)
        named = dict(zip(dict.fromkeys(scene.character for scene in self.scenes), self.cast, strict=True))
        people: list[str | None] = [named.get(scene.character, self.cast[0]) for scene in shown]
        texts = [describe(scene, name) for scene, name in zip(shown, people, strict=True)]
        text = grammar.render(summarise(shown, people), texts, self.cast, task)
        return replace(grammar.parse(text, task), grid=self.grid.id)


def build(folder: Path, films: int) -> tuple[Road, list[Truth]]:
    """A run over held-out films up to its grids, and what they show."""
    home = folder / "films"
    film.write_films(home, films=films, seed=film.HELD_OUT_SEED)
    clip = f"scorer.model=local-dir:{Path(film.__file__).parent / 'clip'}"
    settings = Settings(task="storyboard", sources=(str(home),), captioner="sidecar", overrides=(clip,))
    road = Road(settings, folder / "run")
    list(road.run(lambda *_: None, "compose"))
    shots = {path.name: _shots(path) for path in home.glob("*.mp4")}
    truths = []
    for place, grid in enumerate(road.store.items(Grid, "grids")):
        scenes = tuple(shown(shots[record.position.film], record.position) for record in grid.group.records)
        people = len({scene.character for scene in scenes})
        truths.append(Truth(grid, scenes, names.draw(people, place, 0)))
    return road, truths


def _shots(path: Path) -> list[dict[str, object]]:
    return list(json.loads(film.truth_path(path).read_text(encoding="utf-8"))["shots"])


def shown(shots: Sequence[dict[str, object]], position: Position) -> Scene:
    """The scene at a frame's own time: two shots that a dissolve joins may have been found as one."""
    shot = next(shot for shot in reversed(shots) if float(str(shot["start"])) <= position.time)
    kind, colour, worn, place, action, size = (
        str(shot[key]) for key in ("kind", "colour", "worn", "place", "action", "shot")
    )
    return Scene(Character(kind, colour, worn), place, action, size)


# ---- ways to spoil a caption


def swapped(truth: Truth, truths: Sequence[Truth], task: Task, rng: random.Random) -> Caption:
    """Two panel texts change places."""
    scenes = list(truth.scenes)
    one, two = rng.sample(range(len(scenes)), 2)
    scenes[one], scenes[two] = scenes[two], scenes[one]
    return truth.caption(task, scenes)


def foreign(truth: Truth, truths: Sequence[Truth], task: Task, rng: random.Random) -> Caption:
    """The caption of a grid of another film."""
    film_of = truth.grid.group.records[0].position.film
    others = [other for other in truths if other.grid.group.records[0].position.film != film_of]
    return replace(rng.choice(others).caption(task), grid=truth.grid.id)


def wrong(attribute: str) -> Callable[[Truth, Sequence[Truth], Task, random.Random], Caption]:
    """One attribute of one panel is another than it is."""
    values = {"colour": COLOURS, "kind": KINDS, "place": tuple(PLACES), "action": tuple(ACTIONS)}[attribute]

    def spoil(truth: Truth, truths: Sequence[Truth], task: Task, rng: random.Random) -> Caption:
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
        return truth.caption(task, scenes)

    return spoil


SPOILERS = {
    "swapped segments": swapped,
    "foreign caption": foreign,
    "wrong colour": wrong("colour"),
    "wrong kind": wrong("kind"),
    "wrong place": wrong("place"),
    "wrong action": wrong("action"),
}


@dataclass(frozen=True)
class Rates:
    spoilt: int
    caught: int
    good: int
    false: int


def measure(road: Road, truths: Sequence[Truth], scorer: Scorer, kind: str, seed: int) -> Rates:
    """Runs the filter over the truths with a quarter of them spoilt in one way."""
    rng = random.Random(f"{kind} {seed}")
    chosen = set(rng.sample(range(len(truths)), round(SHARE * len(truths))))
    captions = [
        SPOILERS[kind](truth, truths, road.task, rng) if number in chosen else truth.caption(road.task)
        for number, truth in enumerate(truths)
    ]
    # A swap of two panels that show the same leaves the caption true: such a grid is not spoilt.
    spoilt = {truths[n].grid.id for n in chosen if captions[n].panels != truths[n].caption(road.task).panels}
    grids = [truth.grid for truth in truths]
    stage = filter.stage(road.task, grids, scorer, road.folder, Cache(road.folder / "cache"))
    rejected = {row.id for row in stage.run(captions) if isinstance(row, Rejected)}
    return Rates(len(spoilt), len(rejected & spoilt), len(truths) - len(spoilt), len(rejected - spoilt))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--films", type=int, default=12, help="held-out films of 24 shots (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=4, help="draws of what is spoilt per kind (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        road, truths = build(Path(folder), options.films)
        assert road.scorer is not None
        print(f"{len(truths)} grids of {options.films} held-out films, {SHARE:.0%} spoilt, {options.rounds} draws\n")
        print(f"{'kind of fault':<18} {'caught':>16} {'false rejects':>16}")
        for kind in SPOILERS:
            rates = [measure(road, truths, road.scorer, kind, seed) for seed in range(options.rounds)]
            caught, spoilt = sum(rate.caught for rate in rates), sum(rate.spoilt for rate in rates)
            false, good = sum(rate.false for rate in rates), sum(rate.good for rate in rates)
            print(f"{kind:<18} {caught:>4}/{spoilt:<4} {caught / spoilt:6.1%} {false:>4}/{good:<4} {false / good:6.1%}")


if __name__ == "__main__":
    main()
