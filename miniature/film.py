"""Films, single pictures, before/after pairs and sets of the drawn world, each with its ground truth beside it.

The pipeline sees only the films and pictures; the ground truth (`.json`, never a caption) is for tests and benchmarks.

No film is ever trained on: the models learn from single random scenes (`world.draw_scene` with integer seeds), while
a film's script comes from a random stream of its own (`random.Random("film <seed>")`), and the default run and the
tests number their films from two distant starts.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from miniature.draw import draw
from miniature.world import ACTIONS, PLACES, SHOTS, WORN, Character, Scene, describe, draw_character, draw_scene
from pipeline.captioning.ahead import ahead
from pipeline.progress import Progress, silent

OFFLINE_SEED = 1_000  # the first film of the default offline run; its films have the seeds 1,000, 1,001, ...
HELD_OUT_SEED = 900_000  # the first film of tests and benchmarks, on which the models are measured
SIZE = (640, 360)  # px, width and height
NEW_SHOT_SIZE = 0.7  # how often the shot size changes although the character does too
NEW_ACTION = 0.8  # how often an action that is the same by chance is changed
SOFT_START = 0.3  # how often a sequence opens with a dissolve


@dataclass(frozen=True)
class Shot:
    """One shot of a film: `seconds` in all, of which the first `dissolve` seconds blend in from the previous shot."""

    scene: Scene
    seconds: float
    dissolve: float = 0.0


def script(seed: int, *, shots: int = 24) -> list[Shot]:
    """A film's shots: a cast of one or two, and sequences of three to six shots in one place each."""
    rng = random.Random(f"film {seed}")
    cast = draw_cast(rng)
    film: list[Shot] = []
    place = ""
    while len(film) < shots:
        place = rng.choice([p for p in PLACES if p != place])
        for position in range(min(rng.randint(3, 6), shots - len(film))):
            before = film[-1].scene if film else None
            film.append(Shot(next_scene(rng, cast, place, before), rng.uniform(0.9, 1.8)))
            if before and position == 0 and rng.random() < SOFT_START:
                film[-1] = dissolved(film[-1], rng)
    if shots > 1 and not any(shot.dissolve for shot in film):
        chosen = rng.randrange(1, shots)
        film[chosen] = dissolved(film[chosen], rng)
    return film


def draw_cast(rng: random.Random) -> list[Character]:
    """One or two characters that nobody would confuse: a different kind and a different colour."""
    first, second = draw_character(rng), draw_character(rng)
    while second.kind == first.kind or second.colour == first.colour:
        second = draw_character(rng)
    return [first, second][: rng.randint(1, 2)]


def next_scene(rng: random.Random, cast: list[Character], place: str, before: Scene | None) -> Scene:
    """A shot that a viewer, and a cut detector, can distinguish from the previous one: another shot size, or another
    character seen from the other side."""
    scene = replace(draw_scene(rng, rng.choice(cast)), place=place)
    if before is None:
        return scene
    if scene.character == before.character or rng.random() < NEW_SHOT_SIZE:
        scene = replace(scene, shot=rng.choice([s for s in SHOTS if s != before.shot]))
    else:
        scene = replace(scene, mirrored=not before.mirrored)
    if scene.action == before.action and rng.random() < NEW_ACTION:
        scene = replace(scene, action=rng.choice([a for a in ACTIONS if a != before.action]))
    return scene


def dissolved(shot: Shot, rng: random.Random) -> Shot:
    """The shot with a dissolve at its start, longer by the length of the dissolve."""
    dissolve = rng.uniform(0.4, 0.5)
    return replace(shot, seconds=shot.seconds + dissolve, dissolve=dissolve)


def frames(film: list[Shot], *, size: tuple[int, int] = SIZE, fps: int = 12) -> Iterator[NDArray[np.uint8]]:
    """The film's frames in order, RGB."""
    for before, shot in zip([film[0], *film], film, strict=False):
        blend = round(shot.dissolve * fps)
        for i in range(round(shot.seconds * fps)):
            image = draw(shot.scene, time=i / fps, size=size)
            if i < blend:
                new = (i + 1) / (blend + 1)
                old = draw(before.scene, time=before.seconds + i / fps, size=size)
                cv2.addWeighted(image, new, old, 1 - new, 0, dst=image)
            yield image


def truth(seed: int, *, shots: int = 24, size: tuple[int, int] = SIZE, fps: int = 12) -> dict[str, Any]:
    """What `write_film` shows with these arguments: times in seconds from the film's start, to the frame."""
    film = script(seed, shots=shots)
    rows: list[dict[str, Any]] = []
    start = 0
    for shot in film:
        end = start + round(shot.seconds * fps)
        transition = "dissolve" if shot.dissolve else "cut" if rows else "start"
        times = {"start": start / fps, "end": end / fps, "transition": transition}
        rows.append(times | {"dissolve": round(shot.dissolve * fps) / fps} | facts(shot.scene))
        start = end
    cast = {shot.scene.character: None for shot in film}
    return {"seed": seed, "size": list(size), "fps": fps, "cast": [asdict(c) for c in cast], "shots": rows}


def facts(scene: Scene) -> dict[str, str]:
    """The scene's attributes and its sentence, as in the ground-truth files."""
    seen = {"place": scene.place, "action": scene.action, "shot": scene.shot}
    return asdict(scene.character) | seen | {"sentence": describe(scene)}


def truth_path(film: Path) -> Path:
    return film.with_suffix(".truth.json")


def write_film(path: Path, seed: int, *, shots: int = 24, size: tuple[int, int] = SIZE, fps: int = 12) -> Path:
    """Writes an H.264 .mp4 to `path` with its ground truth beside it; `size` in px, even. Same arguments, same bytes.

    The film appears under its name only when complete, after its ground truth; an existing one is kept.
    """
    width, height = size
    if width % 2 or height % 2:
        raise ValueError(f"a film's width and height must be even (yuv420p halves them), got {width}x{height}")
    truth_text = json.dumps(truth(seed, shots=shots, size=size, fps=fps), indent=1) + "\n"
    beside = truth_path(path)
    if path.exists() and beside.exists() and beside.read_text(encoding="utf-8") == truth_text:
        return path
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(beside, truth_text)
    part = path.with_name(path.name + ".part")
    encode(part, frames(script(seed, shots=shots), size=size, fps=fps), size=size, fps=fps)
    part.replace(path)
    return path


def encode(path: Path, images: Iterator[NDArray[np.uint8]], *, size: tuple[int, int], fps: int) -> None:
    # one thread, and no dates or versions in the file: the bytes depend on the pictures alone
    options = {"crf": "20", "preset": "superfast", "threads": "1", "flags": "+bitexact"}
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for image in images:
            # an eighth of the time that PyAV's own conversion takes
            planes = cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420).astype(np.uint8, copy=False)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(stream.encode())


def replace_text(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def write_films(  # noqa: PLR0913  (how films are drawn)
    folder: Path,
    *,
    films: int,
    seed: int = OFFLINE_SEED,
    shots: int = 24,
    size: tuple[int, int] = SIZE,
    fps: int = 12,
    progress: Progress = silent,
) -> list[Path]:
    """Writes `film-0001.mp4` and so on, the first with `seed`, the next with `seed + 1`; existing films are kept.

    `progress` is told of "drawing", and how many films of how many are there.
    """

    def write(i: int) -> Path:
        return write_film(folder / f"film-{i + 1:04d}.mp4", seed + i, shots=shots, size=size, fps=fps)

    paths: list[Path] = []
    progress("drawing", 0, films)
    with closing(ahead(write, range(films))) as drawn:  # OpenCV and the encoder let other threads work meanwhile
        for path in drawn:
            paths.append(path)
            progress("drawing", len(paths), films)
    return paths


def picture(scene: Scene, path: Path, size: tuple[int, int] = SIZE) -> Path:
    """Writes the scene as one picture, in the format of the path's suffix (.png, .jpg)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), cv2.cvtColor(draw(scene, size=size), cv2.COLOR_RGB2BGR)):
        raise OSError(f"could not write the picture {path}")
    return path


def write_pairs(folder: Path, *, pairs: int, seed: int, size: tuple[int, int] = SIZE) -> list[Path]:
    """Writes `0001_before.png`, `0001_after.png` and so on: one scene, then the same scene with one thing changed.

    Either the clothing or the action changes; `truth.json` in the folder says which. Returns the pictures.
    """
    rng = random.Random(f"pairs {seed}")
    paths, rows = [], []
    for number in range(1, pairs + 1):
        before = draw_scene(rng)
        changed = rng.choice(("worn", "action"))
        if changed == "worn":
            worn = rng.choice([w for w in WORN if w != before.character.worn])
            after = replace(before, character=replace(before.character, worn=worn))
        else:
            after = replace(before, action=rng.choice([a for a in ACTIONS if a != before.action]))
        for moment, scene in (("before", before), ("after", after)):
            paths.append(picture(scene, folder / f"{number:04d}_{moment}.png", size))
        rows.append({"pair": f"{number:04d}", "changed": changed, "before": facts(before), "after": facts(after)})
    replace_text(folder / "truth.json", json.dumps({"seed": seed, "pairs": rows}, indent=1) + "\n")
    return paths


def write_sets(folder: Path, *, sets: int, pictures: int, seed: int, size: tuple[int, int] = SIZE) -> list[Path]:
    """Writes `set-0001/1.png` and so on: one character per folder, in up to 100 scenes that differ in place or action.

    `truth.json` in `folder` holds the ground truth of all. Returns the pictures.
    """
    rng = random.Random(f"sets {seed}")
    paths, rows = [], []
    settings = [(place, action) for place in PLACES for action in ACTIONS]
    for number in range(1, sets + 1):
        who, name = draw_character(rng), f"set-{number:04d}"
        chosen = rng.sample(settings, pictures)
        scenes = [replace(draw_scene(rng, who), place=place, action=action) for place, action in chosen]
        paths += [picture(scene, folder / name / f"{i}.png", size) for i, scene in enumerate(scenes, 1)]
        rows.append({"set": name, "character": asdict(who), "pictures": [facts(scene) for scene in scenes]})
    replace_text(folder / "truth.json", json.dumps({"seed": seed, "sets": rows}, indent=1) + "\n")
    return paths
